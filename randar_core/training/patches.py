"""A codebook of pixels: the mean patches of a set of pictures, whose ids a tokenizer can learn first.

A tokenizer that finds its codes while it learns to encode and to decode has to find all three at once, each from what
the others can do so far. Mean patches are found in a minute. With them, encoder and decoder learn apart from each other
and from the first step on, the one to name the nearest patch, the other to draw it among its neighbours.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..decoding.seeding import generator_for
from ..io.images import to_float

PICTURES = 1024  # whose patches are averaged, evenly spread over the set
ROUNDS = 15
AT_ONCE = 8192  # patches compared


class MeanPatches(nn.Module):
    """`means` `[V, 3 f f]`: a picture's ids are those of the means that are nearest to its patches of f × f pixels."""

    def __init__(self, size: int, factor: int):
        super().__init__()
        self.factor = factor
        self.register_buffer("means", torch.zeros(size, 3 * factor**2))

    @torch.no_grad()
    def ids(self, pixels: Tensor) -> Tensor:
        """pixels [B, 3, H, W] in 0…1 -> ids [B, h, w]."""
        rows = pixels.shape[2] // self.factor
        with torch.autocast(pixels.device.type, enabled=False):
            ids = nearest(patches_of(pixels, self.factor), self.means)
        return rearrange(ids, "(b h w) -> b h w", b=len(pixels), h=rows)

    @torch.no_grad()
    def find(self, pictures: Sequence, seed: int) -> None:
        """Average the patches of some of `pictures`, items (uint8 [H, W, 3], label), by k-means, begun from `seed`."""
        chosen = torch.linspace(0, len(pictures) - 1, min(PICTURES, len(pictures))).round().long().tolist()
        pixels = to_float(np.stack([pictures[index][0] for index in chosen])).to(self.means.device)
        patches, size = patches_of(pixels, self.factor), len(self.means)
        generator = generator_for(seed, "mean patches")

        def some(count: int) -> Tensor:
            return patches[torch.randint(len(patches), (count,), generator=generator).to(patches.device)]

        means = some(size)
        for _ in range(ROUNDS):
            ids = nearest(patches, means)
            counts = torch.bincount(ids, minlength=size)
            means = torch.zeros_like(means).index_add_(0, ids, patches) / counts.clamp(min=1)[:, None]
            unused = (counts == 0).nonzero().squeeze(1)
            means[unused] = some(len(unused))
        self.means.copy_(means)

    def vectors(self, dim: int) -> Tensor:
        """Vectors `[V, dim]` of length one for the means, near each other where the means are."""
        centred = self.means - self.means.mean(0)
        return F.normalize(torch.linalg.svd(centred, full_matrices=False).U[:, :dim], dim=1)


def patches_of(pixels: Tensor, factor: int) -> Tensor:
    """pixels [B, 3, H, W] -> [B h w, 3 f f]."""
    return rearrange(pixels, "b c (h p) (w q) -> (b h w) (c p q)", p=factor, q=factor).float()


def nearest(patches: Tensor, means: Tensor) -> Tensor:
    """For each patch [N, D] the number of the nearest of `means` [V, D]: `[N]`."""
    squares = means.square().sum(1)
    return torch.cat([torch.addmm(squares, each, means.T, alpha=-2).argmin(1) for each in patches.split(AT_ONCE)])
