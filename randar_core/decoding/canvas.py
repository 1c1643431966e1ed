"""The canvas: a grid of cells, some known. Every task is a canvas and a plan for the rest of it."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Canvas:
    """`ids` `[B, h, w]` long and `known` `[B, h, w]` bool. The ids of unknown cells have no meaning."""

    ids: Tensor
    known: Tensor

    def __post_init__(self):
        if self.ids.ndim != 3 or self.ids.shape != self.known.shape:
            raise ValueError(
                f"A canvas needs ids and known cells of one shape [B, h, w]; found {list(self.ids.shape)} "
                f"and {list(self.known.shape)}."
            )

    @classmethod
    def empty(cls, batch: int, height: int, width: int, device=None) -> "Canvas":
        """A canvas on which no cell is known."""
        shape = (batch, height, width)
        return cls(
            torch.zeros(shape, dtype=torch.long, device=device), torch.zeros(shape, dtype=torch.bool, device=device)
        )

    @property
    def batch(self) -> int:
        return self.ids.shape[0]

    @property
    def cells(self) -> int:
        return self.ids.shape[1] * self.ids.shape[2]

    def to(self, device) -> "Canvas":
        return Canvas(self.ids.to(device), self.known.to(device))


def cells_of_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """Cells `[B, height, width]` bool that `mask` `[B, H, W]` bool touches with any pixel."""
    # MPS pools windows of one size only, which are wrong where the cells don't divide the mask.
    pooled = mask.cpu() if mask.device.type == "mps" else mask
    touched = F.adaptive_max_pool2d(pooled.to(torch.float32).unsqueeze(1), (height, width))[:, 0] > 0
    return touched.to(mask.device)
