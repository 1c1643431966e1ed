"""Every family through every node that draws: the nodes know none of them by name."""

import pytest
import torch

SIZE = {"width": 32, "codebook_size": 32, "classes": 3, "grid": 4, "heads": 4}
CONFIGS = {
    "randar": ("RandAR", "RandARConfig", {"layers": 2}),
    "rar": ("RAR", "RARConfig", {"layers": 2, "mlp_width": 64}),
    "lpd": ("LPD", "LPDConfig", {"layers": 2}),
    "arpg": ("ARPG", "ARPGConfig", {"layers": 4}),
}


@pytest.fixture(scope="module", params=CONFIGS)
def family_model(pack, tiny, request):
    """A loaded tiny model of each family, with the tokenizer of the tiny bundle."""
    checkpoints = {name: pack.module(f"randar_core.checkpoints.{name}") for name in ("bundle", "model", "releases")}
    family = pack.module(f"randar_core.models.{request.param}")
    network, config, own = CONFIGS[request.param]
    transformer = getattr(family, network)(getattr(family, config)(**SIZE, **own))
    generator = torch.Generator().manual_seed(0)
    for parameter in transformer.parameters():
        torch.nn.init.normal_(parameter, 0, 0.2 if parameter.ndim > 1 else 1, generator)
    whole = checkpoints["model"].load_model(tiny)
    defaults = checkpoints["releases"].Defaults(guidance=2.0, order=transformer.traits.order)
    path = pack.models / f"family-{request.param}.safetensors"
    checkpoints["bundle"].save_bundle(path, transformer, whole.tokenizer, whole.class_names, defaults)
    yield pack.run("RandARLoadModel", model_name=path.name, weight_dtype="fp32")[0]
    path.unlink()


@pytest.mark.parametrize(
    ("node_id", "more"),
    [
        ("RandARSampler", {"batch_size": 2}),
        ("RandARSampler", {"latent": "latent_image", "denoise": 0.5}),
        ("RandARInpaint", {"image": (24, 32), "mask": (24, 32), "denoise": 0.7}),
        ("RandAROutpaint", {"image": (16, 16), "left": 12, "top": 0, "right": 0, "bottom": 7}),
        ("RandARCanvas", {"width": 40, "height": 20}),
        ("RandARRefine", {"latent": "latent", "forget": "share", "amount": 0.5, "rounds": 2}),
        ("RandARConfidence", {"latent": "latent"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_family_draws(pack, family_model, star, node_id, more):
    """With a region and a negative class, and again the same."""
    generator = torch.Generator().manual_seed(0)
    inputs = dict(more)
    if name := inputs.pop("latent", None):
        inputs[name] = {"samples": family_model.vae.vectors(torch.randint(32, (1, 4, 4), generator=generator))}
    if "image" in inputs:
        inputs["image"] = torch.rand(1, *more["image"], 3, generator=generator)
    if "mask" in inputs:
        inputs["mask"] = torch.zeros(1, *more["mask"])
        inputs["mask"][:, 4:14, 6:20] = 1
    half = torch.zeros(1, 16, 16)
    half[..., :8] = 1
    circle = pack.run("RandARClassList", class_list="circle")[0]
    classes = pack.run("RandARClassRegion", classes=circle, mask=half, background=star)[0]
    inputs |= {"model": family_model, "classes": classes, "negative": circle, "cfg": 2.0}
    if node_id != "RandARConfidence":
        inputs |= {"seed": 1, "steps": 4}
    first, again = (pack.run(node_id, **inputs) for _ in range(2))
    for result, same in zip(first, again, strict=True):
        result, same = (value["samples"] if isinstance(value, dict) else value for value in (result, same))
        assert result.isfinite().all() and result.equal(same)
