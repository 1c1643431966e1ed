"""A tokenizer on its device, as the tasks of the core take it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..randar_core.models.tokenizer import Tokenizer


@dataclass(frozen=True)
class PlacedTokenizer:
    """A tokenizer that computes on `device` and takes pixels and ids from any: with --cpu-vae they lie on another.

    It loads nothing: `run` has loaded the tokenizer before. Its weights don't say where it computes, since with dynamic
    VRAM they may lie elsewhere.
    """

    tokenizer: Tokenizer
    device: torch.device

    @property
    def factor(self) -> int:
        return self.tokenizer.factor

    def encode(self, pixels: Tensor) -> Tensor:
        """As `Tokenizer.encode`; the ids lie on `device`."""
        return self.tokenizer.encode(pixels.to(self.device))

    def decode(self, ids: Tensor) -> Tensor:
        """As `Tokenizer.decode`; the pixels lie on `device`."""
        return self.tokenizer.decode(ids.to(self.device))
