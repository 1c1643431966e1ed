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


def random_model(
    name: str, device="cpu", dtype: torch.dtype | None = None, operations=UNDRAWN, **changes
) -> TokenModel:
    """The transformer of the release `name` with small random weights and `changes` to its configuration."""
    release = find_release(name)
    family = family_of(release.config)
    config = release.config
    return randomized(family.network(dataclasses.replace(config, **changes), device, dtype, operations))


def randomized(network: nn.Module) -> nn.Module:
    """`network` for inference, with weights of the same random numbers at each call."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0, 0.02)
    return network.eval().requires_grad_(False)
