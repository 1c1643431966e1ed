"""Weights of linear layers in the forms that the CPU's matrix kernels read fastest.

Decoding multiplies few rows by many weights, so that a call takes about as long as reading them. In the ordinary layout
a kernel rearranges them at every call; packed once, they are only read. Packed in fewer bits, less is read.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .capabilities import computes_bfloat16, cpu_computes_bfloat16, quick_dtype

PACKED_BITS = ("float16", "int8")
"""What float32 weights can be packed in."""


class PackedLinear(nn.Module):
    """An `nn.Linear` for inference on the CPU whose only copy of the weights is packed, for oneDNN."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        # No parameter: nothing but this layer can use the layout, and `state_dict` has no form for it.
        self.nbytes = linear.weight.nbytes
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")


class HalfLinear(nn.Module):
    """As `PackedLinear`, but in float16, for FBGEMM.

    A weight becomes float32 again on its way into the product, so that nothing else is rounded.
    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        bias = None if linear.bias is None else linear.bias.detach()
        self.nbytes = 2 * linear.weight.numel()
        self.packed = torch.ops.quantized.linear_prepack_fp16(linear.weight.detach(), bias)

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.quantized.linear_dynamic_fp16(x, self.packed)


class Int8Linear(nn.Module):
    """As `PackedLinear`, but in 8 bits with a scale for each row of the weights.

    The kernel rounds its input to 8 bits too, to 7 on processors whose products would overflow otherwise, with one
    scale for all rows: what is computed of a picture depends on those beside it.
    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.nbytes = linear.weight.numel()
        self.narrow = not torch.cpu._is_vnni_supported()
        weight = linear.weight.detach()
        scales = (weight.abs().amax(1) / 127).clamp(min=1e-12)  # a row may be zero
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that a later torch may lack this
            zeros = torch.zeros(len(weight), dtype=torch.long)
            rounded = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
            bias = None if linear.bias is None else linear.bias.detach()
            self.packed = torch.ops.quantized.linear_prepack(rounded, bias)

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.quantized.linear_dynamic(x, self.packed, self.narrow)


_PACKED = (PackedLinear, HalfLinear, Int8Linear)


def can_pack(weight: Tensor) -> bool:
    """Whether this processor and this torch have packed kernels for weights like `weight`, in their own dtype."""
    # Private operators, the ones that torch's own compiler uses: another torch may lack them.
    names = ("_reorder_linear_weight", "_linear_pointwise")
    if weight.device.type != "cpu" or not all(hasattr(torch.ops.mkldnn, name) for name in names):
        return False
    return weight.dtype == torch.float32 or (weight.dtype == torch.bfloat16 and cpu_computes_bfloat16())


def can_pack_in(bits: str) -> bool:
    """Whether this processor and this torch have kernels for float32 layers with weights in `bits`, of PACKED_BITS."""
    # Of a part of torch that is to go one day.
    names = {
        "float16": ("linear_prepack_fp16", "linear_dynamic_fp16"),
        "int8": ("linear_prepack", "linear_dynamic"),
    }[bits]
    if not all(hasattr(torch.ops.quantized, name) for name in names):
        return False
    if bits == "int8" and not hasattr(torch.cpu, "_is_vnni_supported"):
        return False
    return torch.backends.quantized.engine in ("x86", "fbgemm")


def packed_bytes(model: nn.Module) -> int:
    """Bytes of the weights in the packed layers of `model`, which are no parameters of it."""
    return sum(module.nbytes for module in model.modules() if isinstance(module, _PACKED))


def pack(model: nn.Module, bits: str | None = None) -> nn.Module:
    """Replace the linear layers of `model` by packed ones, each freed before the next, where that is possible.

    `bits` of PACKED_BITS stores the weights of float32 layers in fewer bits. For inference alone: the model can't be
    moved, trained or saved any more. Returns `model`. Raises ValueError where this machine or the layers can't be
    packed in `bits`.
    """
    if bits is not None and not can_pack_in(bits):
        raise ValueError(
            f"Weights in {bits} need a processor of the x86 family and a torch with FBGEMM (torch "
            f"{torch.__version__} computes with '{torch.backends.quantized.engine}' here). Use float32."
        )
    weights = (module.weight for module in model.modules() if isinstance(module, nn.Linear))
    found = {(weight.device.type, weight.dtype) for weight in weights} - {("cpu", torch.float32)}
    if bits is not None and found:
        raise ValueError(f"Only float32 layers on the CPU can be packed in {bits}; found {sorted(map(str, found))}.")
    layer: Callable[[nn.Linear], nn.Module] = {None: PackedLinear, "float16": HalfLinear, "int8": Int8Linear}[bits]
    # No list holds the layers, or all would last until the end.
    for parent in [module for module in model.modules() if not isinstance(module, nn.Linear)]:
        for name in [name for name, child in parent.named_children() if isinstance(child, nn.Linear)]:
            if bits is not None or can_pack(getattr(parent, name).weight):
                setattr(parent, name, layer(getattr(parent, name)))
    return model


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

    A processor that doesn't compute in a dtype of 16 bits keeps only the weights in 16, where it has kernels for that:
    in float16, which rounds less than bfloat16. ValueError for int8 on another device.
    """
    if name == "int8":
        if device.type != "cpu":
            raise ValueError(f"Weights in int8 are for the processor, not for '{device}'. Use float16 or bfloat16.")
        return Precision(torch.float32, name)
    if name == "auto" and device.type == "cuda" and not computes_bfloat16(device):
        name = "float16"
    dtype = quick_dtype(device) if name == "auto" else getattr(torch, name)
    emulated = device.type == "cpu" and not (dtype == torch.bfloat16 and cpu_computes_bfloat16())
    if emulated and name != "float32" and can_pack_in("float16"):
        return Precision(torch.float32, "float16")
    return Precision(dtype)
