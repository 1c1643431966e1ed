"""All randomness of a decode: from the seed, on the CPU, one independent generator for each picture and purpose."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def generator_for(seed: int, *purpose: int | str) -> torch.Generator:
    """A CPU generator that depends on `seed` and `purpose` alone (words and numbers: what it is for, which picture)."""
    digest = hashlib.blake2b(repr((int(seed), *purpose)).encode(), digest_size=8).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest, "little"))


def derived_seed(seed: int, *purpose: int | str) -> int:
    """A seed for one `purpose`, see `generator_for`."""
    return int(torch.randint(2**62, (), generator=generator_for(seed, *purpose), dtype=torch.long, device="cpu"))


def draw_noise(seeds: Sequence[int], batch_index: Sequence[int], cells: int, pass_index: int = 0) -> Tensor:
    """One uniform number in [0, 1) for each cell: `[B, cells]` float32 on the CPU.

    Row b depends on `seeds[b]`, `batch_index[b]` and `pass_index` alone.
    """
    return torch.stack(
        [
            torch.rand(
                cells, generator=generator_for(seed, "draw", int(i), pass_index), dtype=torch.float32, device="cpu"
            )
            for seed, i in zip(seeds, batch_index, strict=True)
        ]
    )
