"""The codes of a patch tokenizer: mean patches of a set of pictures."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ..decoding.seeding import generator_for
from ..io.images import to_float
from ..models.patches import PatchConfig, PatchTokenizer
from .seeded import seeded

PICTURES = 1024  # whose patches are averaged, evenly spread over the set
ROUNDS = 15
AT_ONCE = 8192  # patches compared


@torch.no_grad()
def patch_tokenizer(pictures: Sequence, config: PatchConfig, seed: int) -> PatchTokenizer:
    """A tokenizer on the CPU whose codes are mean patches. Its decoder lays them side by side and corrects nothing yet.

    pictures: items (uint8 [H, W, 3], label), H and W multiples of the patches' sides.
    config: of the tokenizer.
    seed: of the patches that the averages begin with, and of the decoder's weights.
    """
    with seeded(seed):
        tokenizer = PatchTokenizer(config)
    chosen = torch.linspace(0, len(pictures) - 1, min(PICTURES, len(pictures))).round().long().tolist()
    pixels = to_float(np.stack([pictures[index][0] for index in chosen]))
    patches = tokenizer.pre_quant(pixels).movedim(1, -1).flatten(0, 2)
    tokenizer.quantize.embedding.weight.copy_(mean_patches(patches, config.codebook_size, seed))
    for stage in tokenizer.decoder.stages:
        nn.init.zeros_(stage.conv_out.weight)
        nn.init.zeros_(stage.conv_out.bias)
    return tokenizer


def mean_patches(patches: Tensor, count: int, seed: int) -> Tensor:
    """`count` means `[count, D]` of `patches` [N, D], by k-means that begins with patches drawn from `seed`."""
    generator = generator_for(seed, "mean patches")

    def some(number: int) -> Tensor:
        return patches[torch.randint(len(patches), (number,), generator=generator)]

    means = some(count)
    for _ in range(ROUNDS):
        ids = nearest(patches, means)
        counts = torch.bincount(ids, minlength=count)
        means = torch.zeros_like(means).index_add_(0, ids, patches) / counts.clamp(min=1)[:, None]
        unused = (counts == 0).nonzero().squeeze(1)
        means[unused] = some(len(unused))  # of fewer different patches than means, some of these are alike
    return means


def nearest(patches: Tensor, means: Tensor) -> Tensor:
    """For each patch [N, D] the number of the nearest of `means` [V, D]: `[N]`."""
    squares = means.square().sum(1)
    return torch.cat([torch.addmm(squares, each, means.T, alpha=-2).argmin(1) for each in patches.split(AT_ONCE)])
