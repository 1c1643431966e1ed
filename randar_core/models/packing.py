"""Weights of linear layers in the blocked layout that the CPU's matrix kernels (oneDNN) read fastest.

Decoding multiplies few rows by many weights. In the ordinary layout the kernel rearranges the weights at every call;
packed once, a call comes near to the time it takes to read them.
"""

import torch
from torch import Tensor, nn

from ..precision import cpu_computes_bfloat16


class PackedLinear(nn.Module):
    """An `nn.Linear` for inference on the CPU whose only copy of the weights is packed."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        # No parameter: nothing but this layer can use the layout, and `state_dict` has no form for it.
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")


def can_pack(weight: Tensor) -> bool:
    """Whether this processor and this torch have packed kernels for weights like `weight`."""
    # Private operators, the ones that torch's own compiler uses: another torch may lack them.
    names = ("_reorder_linear_weight", "_linear_pointwise")
    if weight.device.type != "cpu" or not all(hasattr(torch.ops.mkldnn, name) for name in names):
        return False
    return weight.dtype == torch.float32 or (weight.dtype == torch.bfloat16 and cpu_computes_bfloat16())


def pack(model: nn.Module) -> nn.Module:
    """Replace the linear layers of `model` by packed ones, each freed before the next, where that is possible.

    For inference alone: the model can't be moved, trained or saved any more. Returns `model`.
    """
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear) and can_pack(child.weight):
                setattr(parent, name, PackedLinear(child))
    return model
