"""Which picture is sample n of a training: every picture once an epoch, in an order of the epoch's own.

What is random about a sample comes from the seed and its number alone, so that a training resumes where it was.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..decoding.seeding import generator_for


@lru_cache(maxsize=2)
def _epoch(epoch: int, count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=generator_for(seed, "epoch", epoch))


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


class ExchangedSamples(Dataset):
    """`samples` with `ranks` [h, w] beside `pixels`: which of the codes nearest to its own each cell takes, 0 its own.

    A cell holds `factor` pixels a side. Up to a share `at_most` of a picture's codes are exchanged, for the nearer of
    the `nearest` more often; every `unchanged_every`-th picture keeps all of its own.
    """

    def __init__(self, samples: PixelSamples, factor: int, at_most: float, nearest: int, unchanged_every: int):
        self.samples, self.factor = samples, factor
        self.at_most, self.nearest, self.unchanged_every = at_most, nearest, unchanged_every

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        sample = self.samples[number]
        cells = [side // self.factor for side in sample["pixels"].shape[1:]]
        random = generator_for(self.samples.seed, "swaps", number)  # the name that the built-in model learnt with
        share = 0.0 if number % self.unchanged_every == 0 else self.at_most * torch.rand((), generator=random)
        exchanged = torch.rand(cells, generator=random) < share
        ranks = 1 + (self.nearest * torch.rand(cells, generator=random).square()).long()
        return sample | {"ranks": ranks.clamp(max=self.nearest) * exchanged}
