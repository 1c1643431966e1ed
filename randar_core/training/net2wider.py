"""A wider network that begins by computing just what a narrower one does (Net2WiderNet, arXiv 1511.05641)."""

import math

import torch
from torch import Tensor

from ..decoding.seeding import generator_for
from ..models.llamagen import LlamaGenTokenizer

UNEVEN = 0.3  # copies of a channel take at most so much more or less than an equal share of it


@torch.no_grad()
def widen(tokenizer: LlamaGenTokenizer, narrow: LlamaGenTokenizer, seed: int) -> None:
    """Fill `tokenizer`, whose decoder is a whole number of times as wide as that of `narrow`, with its weights.

    Every channel is copied as often as there is room. The layer that reads the copies takes uneven shares of them,
    drawn from `seed`: with equal shares all copies would learn the same for ever. Copies are neighbours, so that a
    group of channels that is normalised together holds copies of one group. Raises ValueError where a level isn't a
    whole number of times as wide, or is as wide as its neighbour in one of the two alone.
    """
    before, after = narrow.config.decoder_widths, tokenizer.config.decoder_widths
    found, random = narrow.state_dict(), generator_for(seed, "widen")
    if any(wide % width for wide, width in zip(after, before, strict=True)):
        raise ValueError(
            f"The decoder can't grow from the widths {before} to {after}: each level must become a "
            "whole number of times as wide."
        )
    if found.keys() != tokenizer.state_dict().keys():
        raise ValueError(
            f"The decoder can't grow from the widths {before} to {after}: neighbouring levels of one "
            "width must stay so, and others of two."
        )
    for name, weight in tokenizer.state_dict().items():
        # In the wide one's dtype: shares that sum to one must not be rounded to the dtype of a file.
        weight.copy_(widened(name, found[name].to(weight), weight.shape, random))


def widened(name: str, found: Tensor, shape: torch.Size, random: torch.Generator) -> Tensor:
    """`found` `[out, in, …]`, or `[out]`, with every channel as often as it takes to reach `shape`."""
    times = [wide // narrow for wide, narrow in zip(shape[:2], found.shape[:2], strict=True)]
    weight = found.repeat_interleave(times[0], 0)
    if len(times) > 1 and times[1] > 1:
        shares = 1 + UNEVEN * (2 * torch.rand(shape[0], found.shape[1], times[1], generator=random) - 1)
        shares = (shares / shares.sum(2, keepdim=True)).flatten(1).to(weight)
        weight = weight.repeat_interleave(times[1], 1) * shares[(..., *[None] * (weight.ndim - 2))]
    # Attention divides by the root of its width, but the product of queries and keys has grown with the width itself.
    return weight / math.sqrt(times[0]) if ".q." in name else weight
