"""The layers that a tokenizer trains with fastest on the CPU."""

import types

import torch
from torch import Tensor, nn


class ChannelsFirstGroupNorm(nn.GroupNorm):
    """Torch's CPU kernels are quickest with convolutions channels-last and norms channels-first."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.contiguous()).contiguous(memory_format=torch.channels_last)


CPU_LAYERS = types.SimpleNamespace(Conv2d=nn.Conv2d, Embedding=nn.Embedding, GroupNorm=ChannelsFirstGroupNorm)


def layers_for(device: torch.device):
    """The `operations` of a network that trains on `device`."""
    return CPU_LAYERS if device.type == "cpu" else nn
