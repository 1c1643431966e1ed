"""All randomness of a decode: from the seed, on the CPU, one independent stream a picture and purpose."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def stream(seed: int, *purpose: int | str) -> torch.Generator:
    """A CPU generator that depends on `seed` and `purpose` alone (words and numbers: what it is for, which picture)."""
    digest = hashlib.blake2b(repr((int(seed), *purpose)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little"))


def draw_noise(seed: int, pictures: Sequence[int], cells: int, round: int = 0) -> Tensor:
    """One uniform number in [0, 1) a cell: `[B, cells]` float32; row b depends on `seed`, `pictures[b]`, `round`."""
    return torch.stack([torch.rand(cells, generator=stream(seed, "draw", int(i), round)) for i in pictures])
