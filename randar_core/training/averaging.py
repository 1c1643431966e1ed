"""Averaged weights: those that a training ends with, smoother than the ones of its last step."""

import contextlib

import torch
from torch import Tensor, nn


@torch.no_grad()
def start_average(model: nn.Module, decay: float) -> dict[str, Tensor]:
    """A float32 copy of the weights that are learnt; empty where `decay` asks for no average."""
    if not decay:
        return {}
    learnt = ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)
    return {name: parameter.detach().float().clone() for name, parameter in learnt}


@torch.no_grad()
def update_average(average: dict[str, Tensor], model: nn.Module, decay: float, step: int) -> None:
    """Move the averaged weights; early on the decay is lower, so that the first weights are forgotten."""
    if not average:
        return
    decay = min(decay, (1 + step) / (10 + step))
    weights = [model.get_parameter(name).float() for name in average]
    torch._foreach_lerp_(list(average.values()), weights, 1 - decay)


@contextlib.contextmanager
def averaged(model: nn.Module, average: dict[str, Tensor]):
    """Within it, `model` has the weights of `average` (its own where that is empty) and is in eval mode."""
    own = {name: model.get_parameter(name).detach().clone() for name in average}
    put_weights(model, average)
    model.eval()
    try:
        yield
    finally:
        put_weights(model, own)
        model.train()


@torch.no_grad()
def put_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    for name, value in weights.items():
        model.get_parameter(name).copy_(value)
