"""AdamW, or Muon for matrices with AdamW for the rest, and the course of their learning rate."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .muon import Muon
from .settings import LoopSetting

OPTIMIZERS = ("adamw", "muon")
LAYERS = ("layers", "blocks")  # what transformers name their layers


def learning_rate(setting: LoopSetting, step: int) -> float:
    """Learning rate of `step`: linear warm-up, then a cosine to zero (arXiv 1608.03983, without restarts)."""
    warm = min(1.0, (step + 1) / setting.warmup) if setting.warmup else 1.0
    return setting.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / setting.steps))


def make_optimizers(
    model: nn.Module, setting: LoopSetting, beside: Iterable[Tensor] = ()
) -> list[torch.optim.Optimizer]:
    """AdamW for everything, or Muon for the matrices of the layers and AdamW, which comes first, for the rest.

    `beside` are parameters that learn with the model and aren't its own: AdamW takes them, without decay. Of the
    model's own only matrices decay, not norms, biases and other vectors, nor embeddings. Muon scales its steps to the
    size of AdamW's, so both take the one learning rate. Raises ValueError for Muon without such matrices.
    """
    hidden: list[Tensor] = []
    if setting.optimizer == "muon":
        layers = [child for name, child in model.named_children() if name in LAYERS]
        parameters = [parameter for child in layers for parameter in child.parameters()]
        hidden = [parameter for parameter in parameters if parameter.ndim == 2 and parameter.requires_grad]
        if not hidden:
            raise ValueError("Muon is for the matrices of a transformer's layers; train this network with AdamW.")
    elif setting.optimizer != "adamw":
        raise ValueError(f"The optimizer '{setting.optimizer}' is not known. There are: {', '.join(OPTIMIZERS)}.")
    taken = {id(parameter) for parameter in hidden}
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    groups: dict[bool, list[Tensor]] = {True: [], False: []}
    for parameter in model.parameters():
        if id(parameter) not in taken and parameter.requires_grad:
            groups[parameter.squeeze().ndim > 1 and id(parameter) not in embeddings].append(parameter)
    adamw = [
        {"params": groups[True], "weight_decay": setting.weight_decay},
        {"params": groups[False], "weight_decay": 0.0},
    ]
    if beside := list(beside):
        adamw.append({"params": beside, "weight_decay": 0.0})
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            adamw,
            lr=setting.learning_rate,
            betas=(0.9, 0.95),
        )
    ]
    if hidden:
        optimizers.append(Muon(hidden, setting.learning_rate, setting.weight_decay))
    return optimizers
