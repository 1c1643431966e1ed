"""What sample n of a training is: every picture once an epoch, in an order of the epoch's own.

What is random about a sample comes from the seed and its number alone, so that a training resumes where it was.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..classes import resolve_class
from ..decoding.seeding import generator_for
from ..io.images import to_float


@lru_cache(maxsize=2)
def shuffled_epoch(epoch: int, count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=generator_for(seed, "epoch", epoch))


def item_of(number: int, count: int, seed: int) -> int:
    """The picture, of `count`, that is sample `number`."""
    return int(shuffled_epoch(number // count, count, seed)[number % count])


class PixelSamples(Dataset):
    """Sample n of a tokenizer's training: `pixels` [3, H, W] in 0…1.

    `pictures[i]` is (uint8 [H, W, 3], label), as a procedural set and a folder give them.
    """

    def __init__(self, pictures, seed: int):
        self.pictures, self.seed = pictures, seed

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        pixels, _ = self.pictures[item_of(number, len(self.pictures), self.seed)]
        return {"pixels": to_float(pixels)}


class ExchangedSamples(Dataset):
    """`samples` with `ranks` [h, w]: which of the codes nearest to its own each cell takes, 0 its own.

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


@dataclass(frozen=True)
class Prefixes:
    """Most batches hold only the first `cells` of every order, each `whole_every`-th one holds whole pictures.

    The first cells decide what is drawn, where and how large, so most is to be learnt there. The cells after them
    continue their neighbours, cost several times as much, and need few examples. A transformer that sees the beginnings
    of random orders sees every cell, since an order may begin anywhere.
    """

    cells: int
    whole_every: int

    def length(self, batch: int, whole: int) -> int:
        """Cells of the samples of batch number `batch`, of `whole` ones."""
        return whole if (batch + 1) % self.whole_every == 0 else min(self.cells, whole)


@dataclass(frozen=True)
class TokenSamples(Dataset):
    """Sample n of a transformer's training: a picture's tokens along a random order, under its class or the null class.

    ids `[M, N]`, labels `[M]`: the whole set.
    null_class: takes the place of a class in a share `class_dropout` of the samples.
    seed: everything random comes from it and n.
    prefixes: the `batch` samples of a step hold equally many cells.
    oversample `[classes]`: every picture of a class comes that many times an epoch, but no more often than others
        under the null class, which so keeps to the set as it is.
    """

    ids: Tensor
    labels: Tensor
    null_class: int
    seed: int
    class_dropout: float = 0.1
    prefixes: Prefixes | None = None
    batch: int = 1
    oversample: Tensor | None = None

    @cached_property
    def items(self) -> Tensor:
        """The pictures of an epoch, before they are shuffled."""
        items = torch.arange(len(self.ids))
        return items if self.oversample is None else items.repeat_interleave(self.oversample[self.labels.long()])

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        item = self.items[item_of(number, len(self.items), self.seed)]
        label = self.labels[item].long()
        generator = generator_for(self.seed, "sample", number)
        order = torch.randperm(self.ids.shape[1], generator=generator)
        dropout = self.class_dropout if self.oversample is None else self.class_dropout / self.oversample[label]
        if torch.rand((), generator=generator) < dropout:
            label = torch.tensor(self.null_class)
        if self.prefixes is not None:
            order = order[: self.prefixes.length(number // self.batch, len(order))]
        return {"classes": label, "tokens": self.ids[item, order].long(), "order": order}


def oversampling(times: Iterable[tuple[str, int]], class_names: Sequence[str]) -> Tensor | None:
    """How often pictures of each class come, `[classes]`, or None if all come once, from (name or id, number) pairs.

    Raises ValueError for an unknown class, and for one that is named twice.
    """
    every = torch.ones(len(class_names), dtype=torch.long)
    named = set()
    for name, number in times:
        label = resolve_class(name, class_names)
        if label in named:
            raise ValueError(f"How often the class '{class_names[label]}' comes is said twice; say it once.")
        named.add(label)
        every[label] = number
    return every if (every != 1).any() else None
