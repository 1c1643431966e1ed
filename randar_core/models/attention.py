"""Scaled dot-product attention with the kernels of torch that suit decoding: a longer cache at every call."""

import contextlib

import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

# Without cuDNN's kernels, which torch prefers on the newest cards: they are planned anew for every length of the cache.
KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
    """Attention `[R, H, T, d]` of `query` `[R, H, T, d]` to `key` and `value` `[R, H, S, d]`.

    `mask` `[T, S]` is added to the scores; with `causal`, without a mask, place t sees the first t + 1.
    """
    with sdpa_kernel(KERNELS) if query.is_cuda else contextlib.nullcontext():
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)


def aligned(mask: Tensor) -> Tensor:
    """`mask` `[T, S]` in rows that begin at multiples of 8 places.

    The kernels of cards want them so, else every layer makes a copy that is.
    """
    places = mask.shape[1]
    return mask.new_empty(len(mask), -(-places // 8) * 8)[:, :places].copy_(mask)
