"""What a transformer learns: every token of a picture from those before it, along an order of the picture's own."""

import math
from collections.abc import Sequence
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checkpoints.families import FAMILIES
from ..decoding.lpd_groups import LPD_GROUPS
from ..decoding.schedule import call_sizes
from ..decoding.seeding import generator_for
from ..models.family import TokenModel
from .cpu_attention import QuickAttention

TRAINABLE = {
    family.name: family
    for family in FAMILIES
    if family.role == "transformer" and family.network.traits.learning is not None
}
"""The families that learn here, by name."""


class TransformerObjective(nn.Module):
    """Cross-entropy of teacher-forced tokens (RandAR, arXiv 2412.01827, section 3.1)."""

    FIGURES: tuple[str, ...] = ("cells",)

    def __init__(self, model: TokenModel, seed: int = 0):
        """`seed`: of what is random in it."""
        super().__init__()
        self.model, self.seed = model, seed

    def forward(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """batch: `classes` [B], `tokens` [B, n] along `order` [B, n] -> the mean loss in nats a token, and n."""
        condition = self.model.class_embedding(batch["classes"])
        with QuickAttention():
            logits = self.model(condition, batch["tokens"], batch["order"])
        return loss_of(logits, batch["tokens"]), {"cells": batch["order"].shape[1]}

    def after_step(self, step: int, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        return {}


class GroupObjective(TransformerObjective):
    """The same in groups of cells: all samples of a step in those of one number of calls (LPD, arXiv 2507.01957).

    The number is drawn from the seed and the step, evenly from those that LPD was trained with.
    """

    FIGURES = ("cells", "groups")

    def __init__(self, model: TokenModel, seed: int = 0):
        super().__init__(model, seed)
        self.calls = calls_to_learn(model.config.cells)

    def forward(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """As `TransformerObjective`, and the number of groups."""
        cells = batch["order"].shape[1]
        drawn = int(torch.randint(len(self.calls), (), generator=generator_for(self.seed, "groups", step)))
        sizes = first_groups(call_sizes(self.model.config.cells, self.calls[drawn], schedule="lpd"), cells)
        condition = self.model.class_embedding(batch["classes"])
        with QuickAttention():
            logits = self.model(condition, batch["tokens"], batch["order"], group_sizes=sizes)
        return loss_of(logits, batch["tokens"]), {"cells": cells, "groups": len(sizes)}


OBJECTIVES = {"tokens": TransformerObjective, "groups": GroupObjective}


def objective_of(model: TokenModel, seed: int) -> TransformerObjective:
    """How a transformer of its family learns."""
    return OBJECTIVES[model.traits.learning.objective](model, seed)


def loss_of(logits: Tensor, tokens: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), tokens.flatten())


def calls_to_learn(cells: int) -> list[int]:
    """The numbers of calls that LPD learns on a canvas of `cells` cells; those of 256 cells in proportion otherwise."""
    published = [calls for count, calls in LPD_GROUPS if count == cells]
    if published:
        return published
    return sorted({max(1, calls * cells // 256) for count, calls in LPD_GROUPS if count == 256})


def first_groups(sizes: Sequence[int], cells: int) -> list[int]:
    """The groups of the first `cells` cells; the last of them is cut short."""
    starts = accumulate(sizes, initial=0)
    return [min(size, cells - start) for size, start in zip(sizes, starts, strict=False) if start < cells]


@torch.no_grad()
def initialise(model: TokenModel, seed: int) -> None:
    """Weights from the seed: normal with a deviation of 0.02.

    It is smaller by √(2 layers) in layers that add to the residual stream (GPT-2). The output layer starts at zero, so
    that all tokens are equally likely.
    """
    generator = generator_for(seed, "initialise")
    into_stream = 0.02 / math.sqrt(2 * model.config.layers)
    learning = model.traits.learning
    norms = {id(module.weight) for module in model.modules() if isinstance(module, nn.LayerNorm | nn.RMSNorm)}
    for name, parameter in model.named_parameters():
        if id(parameter) in norms:
            parameter.fill_(1)
        elif name == learning.output or name.endswith(".bias"):
            parameter.zero_()
        else:
            deviation = into_stream if name.endswith(learning.into_stream) else 0.02
            parameter.copy_(torch.empty(parameter.shape).normal_(0, deviation, generator=generator))
