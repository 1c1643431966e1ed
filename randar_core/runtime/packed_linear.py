"""Weights of linear layers in the forms that the CPU's matrix kernels read fastest.

Decoding multiplies few rows by many weights, so that a call takes about as long as reading them. In the ordinary layout
a kernel rearranges them at every call; packed once, they are only read. Packed in fewer bits, less is read.
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .capabilities import can_pack, can_pack_in


class PackedLinear(nn.Module):
    """An `nn.Linear` for inference on the CPU whose only copy of the weights is packed, for oneDNN."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        # Not a parameter: only this layer can use the layout, and `state_dict` has no form for it.
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

    The kernel rounds its input to 8 bits too, to 7 on CPUs whose products would overflow otherwise, with one scale for
    all rows: the result of a picture depends on the others in its batch.
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


PACKED_LAYERS = (PackedLinear, HalfLinear, Int8Linear)


def packed_bytes(model: nn.Module) -> int:
    """Bytes of the weights in the packed layers of `model`. They are not parameters of it."""
    return sum(module.nbytes for module in model.modules() if isinstance(module, PACKED_LAYERS))


def pack(model: nn.Module, bits: str | None = None) -> nn.Module:
    """Replace the linear layers of `model` by packed ones, where that is possible. Each is freed before the next.

    `bits`, one of PACKED_BITS, stores the weights of float32 layers in fewer bits. For inference alone: afterwards the
    model can't be moved, trained or saved. Returns `model`. Raises ValueError where this machine can't pack in `bits`
    or the layers are not float32 on the CPU.
    """
    if bits is not None and not can_pack_in(bits):
        raise ValueError(
            f"Weights in {bits} need an x86 CPU and a torch with FBGEMM (torch "
            f"{torch.__version__} computes with '{torch.backends.quantized.engine}' here). Use float32."
        )
    weights = (module.weight for module in model.modules() if isinstance(module, nn.Linear))
    found = {(weight.device.type, weight.dtype) for weight in weights} - {("cpu", torch.float32)}
    if bits is not None and found:
        raise ValueError(f"Only float32 layers on the CPU can be packed in {bits}; found {sorted(map(str, found))}.")
    layer: Callable[[nn.Linear], nn.Module] = {None: PackedLinear, "float16": HalfLinear, "int8": Int8Linear}[bits]
    # No list may hold the layers, or all would last until the end.
    for parent in [module for module in model.modules() if not isinstance(module, nn.Linear)]:
        for name in [name for name, child in parent.named_children() if isinstance(child, nn.Linear)]:
            if bits is not None or can_pack(getattr(parent, name).weight):
                setattr(parent, name, layer(getattr(parent, name)))
    return model
