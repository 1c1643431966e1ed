"""The layers of all networks where no host brings its own: torch's, some of them faster."""

import math
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import GroupNorm, LayerNorm

__all__ = ["Conv2d", "Embedding", "GroupNorm", "LayerNorm", "Linear", "RMSNorm"]


class UndrawnOnMeta:
    """A layer of torch's that draws no weights on `meta`, where all layers are built when a file is loaded.

    On `meta`, torch runs each draw in Python. For that of an Embedding it imports its compiler, which takes a second.
    """

    def reset_parameters(self) -> None:
        if not self.weight.is_meta:
            super().reset_parameters()


class Conv2d(UndrawnOnMeta, nn.Conv2d):
    pass


class Embedding(UndrawnOnMeta, nn.Embedding):
    pass


class Linear(UndrawnOnMeta, nn.Linear):
    pass


class RMSNorm(nn.RMSNorm):
    """`x / √(mean x² + eps) · weight` over the last dimension of `x` `[..., D]`.

    torch has one kernel for it on GPUs. On the CPU it takes eight operations in 16 bits, six in float32. Here they are
    four, with the same arithmetic in float32.
    """

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() or not x.is_cpu:
            return super().forward(x)
        width = x.shape[-1]
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide)
        norm = torch.hypot(norm, constant(math.sqrt(width * self.eps)))
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        return torch.addcmul(constant(0.0), x / norm, self.weight, value=math.sqrt(width), out=out)


@cache
def constant(value: float) -> Tensor:
    """A 0-dimensional tensor on the CPU. It is made once: to make it would be one more operation of every call."""
    return torch.tensor(value, dtype=torch.float32, device="cpu")
