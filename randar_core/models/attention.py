"""Scaled dot-product attention with the kernels of torch that suit decoding: a longer cache at every call."""

import contextlib

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

# Without cuDNN's kernels, which torch prefers on the newest GPUs: they are planned again for every length of the cache.
KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
    """Attention `[R, H, T, d]` of `query` `[R, H, T, d]` to `key` and `value` `[R, H, S, d]`.

    `mask` `[T, S]` is added to the scores; with `causal`, without a mask, position t sees the first t + 1.
    """
    with sdpa_kernel(KERNELS) if query.is_cuda else contextlib.nullcontext():
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)


def aligned(mask: Tensor) -> Tensor:
    """`mask` `[T, S]` in rows that begin at multiples of 8 positions.

    The kernels of GPUs need them so. Otherwise every layer makes an aligned copy.
    """
    width = mask.shape[1]
    return mask.new_empty(len(mask), -(-width // 8) * 8)[:, :width].copy_(mask)


class CausalMask:
    """What the new positions of a call see: all earlier ones, and of the new ones those up to themselves.

    All calls of a decode of `slots` positions share one mask, in dtype and device of `like`. It grows only when a
    call feeds more positions than any call before it.
    """

    def __init__(self, like: Tensor, slots: int):
        self.slots = slots
        self.blind = like.new_empty(0, 0)

    @staticmethod
    def numbers(new: int, slots: int) -> int:
        """How many numbers the shared mask holds after a call that feeds `new` positions, the most so far."""
        return 2 * new * (slots + 2 * new)

    def __call__(self, new: int, earlier: int) -> Tensor:
        """`[new, earlier + new]`, 0 where seen and −∞ where not."""
        if new > len(self.blind):
            blind = self.blind.new_full((2 * new, self.slots + 2 * new), -torch.inf)  # see `numbers`
            self.blind = blind.triu_(self.slots + 1)
        mask = self.blind[:new, self.slots - earlier : self.slots + new]
        return aligned(mask) if mask.is_cuda else mask
