"""Nodes that the fuzz puts into the ComfyUI under test: odd tensors go in, and what comes out is checked.

It is copied to `custom_nodes`, so it knows nothing of this repository.
"""

import torch


def odd_values(shape, kind, seed):
    """A tensor of `shape` whose values are of a `kind`."""
    values = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    if kind == "zeros":
        return torch.zeros(shape)
    if kind == "ones":
        return torch.ones(shape)
    if kind == "faint":
        return values * 0.005
    if kind == "soft":
        return values**4
    if kind == "half":
        values.view(-1)[: values.numel() // 2] = 0
        return values.ceil()
    if kind == "signed":
        return values * 4 - 2
    if kind in ("nan", "inf", "huge"):
        if values.numel():
            values.view(-1)[seed % values.numel()] = {"nan": torch.nan, "inf": torch.inf, "huge": 1e30}[kind]
        return values
    return {
        "uniform": values,
        "float16": values.half(),
        "bfloat16": values.bfloat16(),
        "float64": values.double(),
        "uint8": (values * 255).to(torch.uint8),
        "bool": values > 0.5,
    }[kind]


class OddImage:
    CATEGORY, FUNCTION, RETURN_TYPES = "fuzz", "make", ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        number = ("INT", {"default": 1, "min": -(2**31), "max": 2**31})
        return {
            "required": {name: number for name in ("batch", "height", "width", "channels", "seed")}
            | {"kind": ("STRING", {"default": "uniform"})}
        }

    def make(self, batch, height, width, channels, seed, kind):
        return (odd_values((batch, height, width, channels), kind, seed),)


class OddMask:
    CATEGORY, FUNCTION, RETURN_TYPES = "fuzz", "make", ("MASK",)
    INPUT_TYPES = OddImage.INPUT_TYPES

    def make(self, batch, height, width, channels, seed, kind):
        shape = {0: (height, width), 1: (batch, height, width)}.get(channels, (batch, 1, height, width))
        return (odd_values(shape, kind, seed),)


class OddLatent:
    CATEGORY, FUNCTION, RETURN_TYPES = "fuzz", "make", ("LATENT",)
    INPUT_TYPES = OddImage.INPUT_TYPES

    def make(self, batch, height, width, channels, seed, kind):
        latent = {"samples": odd_values((batch, channels, height, width), kind, seed)}
        if seed % 5 == 0:
            latent["batch_index"] = [seed % 100 + 3 * i for i in range(batch)]
        if seed % 7 == 0:
            latent["samples"] = latent["samples"].unsqueeze(2)
        return (latent,)


class CheckResult:
    """Fails unless what comes in is as ComfyUI expects it: float32 on the CPU, finite, and in 0…1 where it is seen."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "fuzz", "check", (), True

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"optional": {"image": ("IMAGE",), "mask": ("MASK",), "latent": ("LATENT",)}}

    def check(self, image=None, mask=None, latent=None):
        for name, values, dims in (
            ("image", image, 4),
            ("mask", mask, 3),
            ("latent", None if latent is None else latent["samples"], 4),
        ):
            if values is None:
                continue
            assert values.dtype == torch.float32, f"{name}: {values.dtype}"
            assert values.device.type == "cpu", f"{name}: on {values.device}"
            assert values.ndim == dims and values.numel(), f"{name}: shape {list(values.shape)}"
            assert values.isfinite().all(), f"{name}: not finite"
            if name != "latent":
                assert 0 <= values.min() and values.max() <= 1, f"{name}: {values.min()}…{values.max()}"
        return {"ui": {"checked": [True]}, "result": ()}


NODE_CLASS_MAPPINGS = {node.__name__: node for node in (OddImage, OddMask, OddLatent, CheckResult)}
