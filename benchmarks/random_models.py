"""Transformers with random weights: what a call costs doesn't depend on them."""

import dataclasses
from types import SimpleNamespace

import torch
from torch import nn

from randar_core.checkpoints.families import family_of
from randar_core.checkpoints.releases import find_release
from randar_core.models import layers
from randar_core.models.family import TokenModel

# Layers whose weights are drawn once, by `randomized`.
UNDRAWN = SimpleNamespace(
    **{name: type(name, (getattr(layers, name),), {"reset_parameters": lambda self: None}) for name in layers.__all__}
)
PERIOD = 2**16 + 1  # of the weights: a prime, so that no two rows of a matrix are the same


def random_model(
    name: str, device="cpu", dtype: torch.dtype | None = None, operations=UNDRAWN, **changes
) -> TokenModel:
    """The transformer of the release `name` with small random weights and `changes` to its configuration."""
    release = find_release(name)
    family = family_of(release.config)
    config = release.config
    return randomized(family.network(dataclasses.replace(config, **changes), device, dtype, operations))


def randomized(network: nn.Module) -> nn.Module:
    """`network` for inference, with weights of the same random numbers at each call.

    They repeat: to draw hundreds of millions takes longer than to measure with them.
    """
    numbers = torch.randn(PERIOD, generator=torch.Generator().manual_seed(0)) * 0.02
    for parameter in network.eval().requires_grad_(False).parameters():
        numbers, flat = numbers.to(parameter.device), parameter.view(-1)
        whole = len(flat) // PERIOD * PERIOD
        flat[:whole].view(-1, PERIOD).copy_(numbers)
        flat[whole:].copy_(numbers[: len(flat) - whole])
    return network
