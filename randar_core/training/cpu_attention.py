"""Attention for training on a CPU, in blocks that stay in the cache: about half the time of torch's own kernel."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

ROWS, QUERIES = 4, 128


class QuickAttention(TorchFunctionMode):
    """Within it, `F.scaled_dot_product_attention` on the CPU takes `attention_in_blocks`, causal or with a mask.

    The mask is one of floating point `[T, S]`, in which every query sees a key. Other calls remain torch's own. Torch's
    kernel wins where nothing is differentiated, so this is for training alone.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and len(args) == 3 and args[0].device.type == "cpu":
            mask = mask_in(kwargs, args[0].shape[2], args[1].shape[2])
            if mask is not None:
                return attention_in_blocks(*args, mask)
        return func(*args, **kwargs)


def mask_in(kwargs: dict, queries: int, keys: int) -> Tensor | None:
    """The mask `[T, S]` that the keyword arguments of a call stand for; None where torch has to compute it."""
    if not kwargs.keys() <= {"attn_mask", "is_causal"}:
        return None
    if kwargs.get("is_causal"):
        return torch.full((queries, keys), -torch.inf).triu_(1)
    mask = kwargs.get("attn_mask")
    takes = mask is not None and mask.is_floating_point() and mask.shape == (queries, keys)
    return mask if takes else None


def attention_in_blocks(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """query [R, H, T, d], key, value [R, H, S, d] -> [R, H, T, d], the same as torch's up to rounding.

    In bfloat16 the scores are rounded before the softmax, which torch's kernel doesn't do: the error is four times as
    large. `mask` `[T, S]` is added to the scores: 0 where a query sees a key, −∞ where not.
    """
    parts = [QueryBlock.of(mask.to(query.dtype), start) for start in range(0, len(mask), QUERIES)]
    blocks = zip(*(tensor.split(ROWS) for tensor in (query * query.shape[-1] ** -0.5, key, value)), strict=True)
    with torch.autocast("cpu", enabled=False):
        return torch.cat([torch.cat([part.attend(*block) for part in parts], 2) for block in blocks])


@dataclass(frozen=True)
class QueryBlock:
    """Up to `QUERIES` queries in a row, and the keys that any of them sees.

    Scores of other keys are never computed. They are half of those of a causal mask, and more of those of LPD's groups.

    keys: K keys, in runs.
    mask: `[q, K]`, the mask between the two.
    """

    queries: slice
    keys: list[slice]
    mask: Tensor

    @classmethod
    def of(cls, mask: Tensor, start: int) -> "QueryBlock":
        """The block that begins with query `start`, of the `mask` `[T, S]` of all queries and keys."""
        queries = slice(start, start + QUERIES)
        seen = (mask[queries] > -torch.inf).any(0)
        ends = seen.diff(prepend=seen.new_zeros(1), append=seen.new_zeros(1)).nonzero().flatten().tolist()
        keys = [slice(*run) for run in zip(ends[::2], ends[1::2], strict=True)]
        return cls(queries, keys, torch.cat([mask[queries, run] for run in keys], 1))

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """What its queries give: query [R, H, T, d], scaled, key, value [R, H, S, d] -> [R, H, q, d]."""
        key, value = (torch.cat([tensor[:, :, run] for run in self.keys], 2) for tensor in (key, value))
        scores = query[:, :, self.queries] @ key.transpose(-1, -2)
        return (scores + self.mask).softmax(-1) @ value
