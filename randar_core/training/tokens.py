"""The ids of a whole set of pictures, made once before a decoder's training and kept in a file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..io.atomic import atomic_write
from ..models.tokenizer import Tokenizer
from ..runtime.capabilities import mixed_precision
from ..runtime.distributed import gather_interleaved, rank_and_world_size


@dataclass(frozen=True)
class TokenSet:
    """`ids` [M, N] int32 row by row, `labels` [M] int32, and the `facts` of the pictures and the tokenizer."""

    ids: Tensor
    labels: Tensor
    facts: dict


class _Share(Dataset):
    """Process `rank`'s share of the pictures, as tensors. All shares are equally long: the last ones begin anew."""

    def __init__(self, pictures, rank: int, processes: int):
        self.pictures, self.rank, self.processes = pictures, rank, processes

    def __len__(self) -> int:
        return -(-len(self.pictures) // self.processes)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels, label = self.pictures[(index * self.processes + self.rank) % len(self.pictures)]
        return torch.from_numpy(np.ascontiguousarray(pixels)), label


@torch.inference_mode()
def encode_set(
    tokenizer: Tokenizer, pictures, facts: dict, device: torch.device, workers: int = 0, batch: int = 32, on_batch=None
) -> TokenSet:
    """Ids of all `pictures`, (uint8 [H, W, 3], label) each; `on_batch(count)` hears of the progress of this process.

    Under `torchrun` every process encodes its share, and all have the whole set at the end.
    """
    rank, processes = rank_and_world_size()
    tokenizer = tokenizer.to(device).eval()
    ids, labels = [], []
    for pixels, label in DataLoader(_Share(pictures, rank, processes), batch, num_workers=workers):
        pixels = rearrange(pixels.to(device), "b h w c -> b c h w").float() / 255
        with mixed_precision(device):
            ids.append(tokenizer.encode(pixels).flatten(1).int().cpu())
        labels.append(label.int())
        if on_batch is not None:
            on_batch(len(label))

    def whole(shares: list[Tensor]) -> Tensor:
        return gather_interleaved(torch.cat(shares), device)[: len(pictures)]

    return TokenSet(whole(ids), whole(labels), facts)


def save_tokens(tokens: TokenSet, path: Path) -> None:
    """Raises OSError where the file can't be written; it appears whole or not at all."""
    try:
        with atomic_write(path) as part:
            save_file({"ids": tokens.ids, "labels": tokens.labels}, part, {"facts": json.dumps(tokens.facts)})
    except (OSError, SafetensorError) as error:
        raise OSError(f"The ids can't be written to '{path}': {error}. Make room and run again.") from error


def load_tokens(path: Path, facts: dict) -> TokenSet | None:
    """The set in the file, or None where there is no file or it was made of other pictures or by another tokenizer."""
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            found = json.loads(file.metadata()["facts"])
            return TokenSet(file.get_tensor("ids"), file.get_tensor("labels"), found) if found == facts else None
    except (SafetensorError, TypeError, KeyError, json.JSONDecodeError) as error:  # metadata that lacks, or isn't ours
        raise ValueError(f"'{path}' is damaged ({error}). Delete it; it is made anew then.") from error
