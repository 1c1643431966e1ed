"""What a decoder learns: every token of a picture from those before it, along an order of the picture's own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from ..classes import resolve_class
from ..decoding.seeding import generator_for
from ..models.randar import RandAR
from .cpu_attention import QuickCausalAttention
from .samples import item_of


class DecoderObjective(nn.Module):
    """Cross-entropy of teacher-forced tokens (RandAR, arXiv 2412.01827, section 3.1)."""

    FIGURES = ("cells",)

    def __init__(self, model: RandAR):
        super().__init__()
        self.model = model

    def forward(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """batch: `classes` [B], `tokens` [B, n] along `order` [B, n] -> the mean loss in nats a token, and n."""
        with QuickCausalAttention():
            condition = self.model.class_embedding(batch["classes"])
            logits = self.model(condition, batch["tokens"], batch["order"])
        loss = F.cross_entropy(logits.flatten(0, 1), batch["tokens"].flatten())
        return loss, {"cells": batch["order"].shape[1]}

    def after_step(self, step: int, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        return {}


@dataclass(frozen=True)
class Prefixes:
    """Most batches hold only the first `cells` of every order, each `whole_every`-th one holds whole pictures.

    What is drawn, where and how large is settled in the first cells, so that is where most is to be learnt; what comes
    after continues its neighbours, costs several times as much, and needs few examples. A decoder that sees all of
    random orders' beginnings sees every cell, since an order may begin anywhere.
    """

    cells: int
    whole_every: int

    def length(self, batch: int, whole: int) -> int:
        """Cells of the samples of batch number `batch`, of `whole` ones."""
        return whole if (batch + 1) % self.whole_every == 0 else min(self.cells, whole)


@dataclass(frozen=True)
class TokenSamples(Dataset):
    """Sample n of a training: a picture's tokens along a random order, under its class or, at times, the null class.

    `ids` [M, N] and `labels` [M] hold the whole set. Everything drawn comes from the seed and n. With `prefixes`, the
    `batch` samples of a step hold equally many cells. With `oversample` [classes], every picture of a class comes that
    many times an epoch, but no more often than others under the null class, which so keeps to the set as it is.
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
    def _items(self) -> Tensor:
        """The pictures of an epoch, before they are shuffled."""
        items = torch.arange(len(self.ids))
        return items if self.oversample is None else items.repeat_interleave(self.oversample[self.labels.long()])

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        item = self._items[item_of(number, len(self._items), self.seed)]
        label = self.labels[item].long()
        generator = generator_for(self.seed, "sample", number)
        order = torch.randperm(self.ids.shape[1], generator=generator)
        dropout = self.class_dropout if self.oversample is None else self.class_dropout / self.oversample[label]
        if torch.rand((), generator=generator) < dropout:
            label = torch.tensor(self.null_class)
        if self.prefixes is not None:
            order = order[: self.prefixes.length(number // self.batch, len(order))]
        return {"classes": label, "tokens": self.ids[item, order].long(), "order": order}


@torch.no_grad()
def initialise(model: RandAR, seed: int) -> None:
    """Weights from the seed: normal of deviation 0.02; layers that add to the residual stream smaller by √(2 layers)
    (GPT-2); the output layer starts at zero, so that all tokens are equally likely."""
    generator = generator_for(seed, "initialise")
    into_stream = 0.02 / math.sqrt(2 * model.config.layers)
    for name, parameter in model.named_parameters():
        if name.endswith("norm.weight"):
            parameter.fill_(1)
        elif name == "output.weight":
            parameter.zero_()
        else:
            deviation = into_stream if name.endswith(("wo.weight", "w2.weight")) else 0.02
            parameter.copy_(torch.empty(parameter.shape).normal_(0, deviation, generator=generator))


@dataclass(frozen=True)
class Start:
    """A trained transformer to begin with, and the names of its classes."""

    transformer: RandAR
    class_names: Sequence[str]


@torch.no_grad()
def begin_with(model: RandAR, class_names: Sequence[str], start: Start) -> None:
    """Give `model`, initialised before, the weights of `start`.

    Classes are known by their names: those that `start` doesn't know stay as they were initialised. Layers beyond those
    of `start` add nothing to the residual stream at first: the model begins as good as `start` is, as in Net2Net (Chen
    et al., arXiv 1511.05641). Raises ValueError where `start` has more layers, or anything else differs.
    """
    for name in ("width", "heads", "codebook_size", "grid"):
        found, expected = getattr(start.transformer.config, name), getattr(model.config, name)
        if found != expected:
            raise ValueError(
                f"The decoder to begin with has {name.replace('_', ' ')} {found}, the one to be trained {expected}; "
                "they must be equal."
            )
    layers = start.transformer.config.layers
    if layers > model.config.layers:
        raise ValueError(
            f"The decoder to begin with has {layers} layers, the one to be trained {model.config.layers}: ask for "
            f"{layers} or more."
        )
    for layer in model.layers[layers:]:
        for into_stream in (layer.attention.wo, layer.feed_forward.w2):
            into_stream.weight.zero_()
    key = "cls_embedding.embedding_table.weight"
    weights = start.transformer.state_dict()
    known, embeddings = weights[key], model.state_dict()[key].clone()
    embeddings[model.null_class] = known[start.transformer.null_class]
    for row, name in enumerate(class_names):
        if name in start.class_names:
            embeddings[row] = known[start.class_names.index(name)]
    added = tuple(f"layers.{index}." for index in range(layers, model.config.layers))
    new = {name: weight for name, weight in model.state_dict().items() if name.startswith(added)}
    model.load_state_dict(new | weights | {key: embeddings})


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
