"""Precisions: what a user asks for by a name, and what that is on a device."""

from dataclasses import dataclass

import torch

from .capabilities import bfloat16_is_quick, bfloat16_is_quick_on_cpu, can_pack_in, quick_dtype


@dataclass(frozen=True)
class Precision:
    """`dtype` is what a model is loaded and computes in; `bits` is what its linear layers are packed in, see `pack`."""

    dtype: torch.dtype
    bits: str | None = None

    def __str__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return dtype if self.bits is None else f"{self.bits} weights in {dtype}"


def precision_of(name: str, device: torch.device) -> Precision:
    """The precision that a `name` stands for on `device`: a floating dtype of torch, "int8", or "auto", the quickest.

    A CPU that is slow in a dtype of 16 bits, bfloat16 included, keeps only the weights in 16, where it has kernels for
    that: in float16, which rounds less than bfloat16. Raises ValueError for int8 on another device.
    """
    if name == "int8":
        if device.type != "cpu":
            raise ValueError(f"Weights in int8 are for the CPU, not for '{device}'. Use float16 or bfloat16.")
        return Precision(torch.float32, name)
    if name == "auto" and device.type == "cuda" and not bfloat16_is_quick(device):
        name = "float16"
    dtype = quick_dtype(device) if name == "auto" else getattr(torch, name)
    slow = device.type == "cpu" and not (dtype == torch.bfloat16 and bfloat16_is_quick_on_cpu())
    if slow and name != "float32" and can_pack_in("float16"):
        return Precision(torch.float32, "float16")
    return Precision(dtype)
