"""Attention that torch's CPU kernels do in half the time to learn from: in blocks that stay in the cache."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

ROWS, QUERIES = 4, 128


class QuickAttention(TorchFunctionMode):
    """Within it, causal `F.scaled_dot_product_attention` and one with a mask `[T, S]` take `attention_in_blocks`.

    On the CPU alone. Torch's own kernel wins where nothing is differentiated, so this is for training alone.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and args[0].device.type == "cpu":
            mask = kwargs.get("attn_mask")
            if kwargs.get("is_causal"):
                mask = torch.full((args[0].shape[2], args[1].shape[2]), -torch.inf).triu_(1)
            if mask is not None and mask.ndim == 2:
                return attention_in_blocks(*args, mask)
        return func(*args, **kwargs)


def attention_in_blocks(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """query [R, H, T, d], key, value [R, H, S, d] -> [R, H, T, d], the same as torch's up to rounding.

    `mask` `[T, S]` is added to the scores: 0 where a query sees a key, −∞ where not.
    """
    parts = [Part.of(mask.to(query.dtype), start) for start in range(0, len(mask), QUERIES)]
    blocks = zip(*(tensor.split(ROWS) for tensor in (query * query.shape[-1] ** -0.5, key, value)), strict=True)
    with torch.autocast("cpu", enabled=False):
        return torch.cat([torch.cat([part.attend(*block) for part in parts], 2) for block in blocks])


@dataclass(frozen=True)
class Part:
    """Some of the queries and the keys that any of them sees: the others are never computed.

    That is half of a causal mask, and more of the groups of LPD.
    """

    queries: slice
    keys: list[slice]
    mask: Tensor

    @classmethod
    def of(cls, mask: Tensor, start: int) -> "Part":
        """Of the queries from `start` on."""
        queries = slice(start, start + QUERIES)
        seen = (mask[queries] > -torch.inf).any(0)
        ends = seen.diff(prepend=seen.new_zeros(1), append=seen.new_zeros(1)).nonzero().flatten().tolist()
        keys = [slice(*run) for run in zip(ends[::2], ends[1::2], strict=True)]
        return cls(queries, keys, torch.cat([mask[queries, run] for run in keys], 1))

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        key, value = (torch.cat([tensor[:, :, run] for run in self.keys], 2) for tensor in (key, value))
        scores = query[:, :, self.queries] @ key.transpose(-1, -2)
        return (scores + self.mask).softmax(-1) @ value
