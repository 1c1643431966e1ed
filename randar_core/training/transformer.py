"""What a transformer learns: every token of a picture from those before it, along an order of the picture's own."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..decoding.seeding import generator_for
from ..models.randar import RandAR
from .cpu_attention import QuickCausalAttention


class TransformerObjective(nn.Module):
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
