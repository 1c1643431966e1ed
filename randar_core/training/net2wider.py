"""A wider network that begins by computing just what a narrower one does (Net2WiderNet, arXiv 1511.05641)."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..decoding.seeding import generator_for
from ..models.llamagen import LlamaGenTokenizer

UNEVEN = 0.3  # copies of a channel take at most so much more or less than an equal share of it


@torch.no_grad()
def widen(tokenizer: LlamaGenTokenizer, narrow: LlamaGenTokenizer, seed: int) -> None:
    """Fill `tokenizer`, whose decoder is a whole number of times as wide as that of `narrow`, with its weights.

    Every channel is copied as often as there is room. The layer that reads the copies takes uneven shares of them,
    drawn from `seed`: with equal shares all copies would learn the same for ever. Copies are neighbours, so that a
    group of channels that is normalised together holds copies of one group. Where neighbouring levels of one width get
    two, a shortcut appears between them, which begins as the identity. Raises ValueError where a level isn't a whole
    number of times as wide, or gets the width of a neighbour that had another.
    """
    before, after = narrow.config.decoder_widths, tokenizer.config.decoder_widths
    found, random = narrow.state_dict(), generator_for(seed, "widen")
    for name, weight in new_shortcuts(tokenizer, narrow):
        found[name] = weight
    if any(wide % width for wide, width in zip(after, before, strict=True)):
        raise ValueError(
            f"The decoder can't grow from the widths {before} to {after}: each level must become a "
            "whole number of times as wide."
        )
    if found.keys() != tokenizer.state_dict().keys():
        raise ValueError(
            f"The decoder can't grow from the widths {before} to {after}: neighbouring levels of two widths can't "
            "get one."
        )
    for name, weight in tokenizer.state_dict().items():
        # In the wide one's dtype: shares that sum to one must not be rounded to the dtype of a file.
        weight.copy_(widened(name, found[name].to(weight), weight.shape, random))


def new_shortcuts(tokenizer: LlamaGenTokenizer, narrow: LlamaGenTokenizer) -> Iterator[tuple[str, Tensor]]:
    """Identities for the shortcuts of `tokenizer` that `narrow` has none of, as wide as those would be in `narrow`."""
    blocks = dict(narrow.named_modules())
    for name, module in tokenizer.named_modules():
        if name.endswith(".nin_shortcut") and isinstance(module, nn.Conv2d) and isinstance(blocks[name], nn.Identity):
            width = blocks[name.removesuffix(".nin_shortcut")].conv1.weight.shape[1]
            yield f"{name}.weight", torch.eye(width)[:, :, None, None]
            yield f"{name}.bias", torch.zeros(width)


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
