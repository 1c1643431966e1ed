"""Which picture is sample n of a training: every picture once an epoch, in an order of the epoch's own."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..decoding.randomness import stream


@lru_cache(maxsize=2)
def _epoch(epoch: int, count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=stream(seed, "epoch", epoch))


def item_of(number: int, count: int, seed: int) -> int:
    """The picture, of `count`, that is sample `number`. Depends on nothing else, so a training resumes where it was."""
    return int(_epoch(number // count, count, seed)[number % count])


class PixelSamples(Dataset):
    """Sample n of a tokenizer's training: `pixels` [3, H, W] in 0…1.

    `pictures[i]` is (uint8 [H, W, 3], label), as the procedural set and a folder give them.
    """

    def __init__(self, pictures, seed: int):
        self.pictures, self.seed = pictures, seed

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        pixels, _ = self.pictures[item_of(number, len(self.pictures), self.seed)]
        return {"pixels": torch.from_numpy(pixels).permute(2, 0, 1).float() / 255}
