"""The feed-forward layers of RandAR and ARPG: SwiGLU (arXiv 2002.05202), as in LLaMA."""

import torch.nn.functional as F
from torch import Tensor, nn


def hidden_width(width: int) -> int:
    """Width inside: two thirds of four widths, rounded up to a multiple of 256."""
    return -(-int(2 * 4 * width / 3) // 256) * 256


class FeedForward(nn.Module):
    def __init__(self, width: int, operations, **factory):
        super().__init__()
        hidden = hidden_width(width)
        self.w1 = operations.Linear(width, hidden, bias=False, **factory)
        self.w3 = operations.Linear(width, hidden, bias=False, **factory)
        self.w2 = operations.Linear(hidden, width, bias=False, **factory)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))
