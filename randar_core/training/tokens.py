"""The ids of a whole set of pictures, made once before a transformer's training and kept in a file."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..io.atomic import atomic_write
from ..io.images import to_float
from ..models.tokenizer import Tokenizer
from ..runtime.capabilities import mixed_precision
from ..runtime.distributed import (
    broadcast_from_rank_0,
    gather_interleaved,
    is_rank_0,
    rank_and_world_size,
    wait_for_all,
)
from ..runtime.progress_lines import Progress
from .settings import PictureSet, Run

IDS_FILE = "ids.safetensors"


@dataclass(frozen=True)
class TokenSet:
    """`ids` [M, N] int32 row by row, `labels` [M] int32, and the `facts` of the pictures and the tokenizer."""

    ids: Tensor
    labels: Tensor
    facts: dict


class Share(Dataset):
    """Process `rank`'s share of the pictures, as tensors. All shares are equally long: the last ones wrap around."""

    def __init__(self, pictures, rank: int, processes: int):
        self.pictures, self.rank, self.processes = pictures, rank, processes

    def __len__(self) -> int:
        return -(-len(self.pictures) // self.processes)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels, label = self.pictures[(index * self.processes + self.rank) % len(self.pictures)]
        return torch.from_numpy(np.ascontiguousarray(pixels)), label


@torch.inference_mode()
def encode_pictures(
    tokenizer: Tokenizer, pictures: PictureSet, device: torch.device, workers: int = 0, batch: int = 32, on_batch=None
) -> TokenSet:
    """The ids of all `pictures`, with their facts.

    Under `torchrun` every process encodes its share, and all have the whole set at the end.

    tokenizer: moved to `device`.
    pictures: their facts say what the ids depend on, with the tokenizer's fingerprint.
    workers: processes that read pictures ahead.
    batch: pictures encoded together.
    on_batch(count): hears of the progress of this process.
    """
    rank, processes = rank_and_world_size()
    tokenizer = tokenizer.to(device).eval()
    ids, labels = [], []
    for pixels, label in DataLoader(Share(pictures.pictures, rank, processes), batch, num_workers=workers):
        pixels = to_float(pixels.to(device))
        with mixed_precision(device):
            ids.append(tokenizer.encode(pixels).flatten(1).int().cpu())
        labels.append(label.int())
        if on_batch is not None:
            on_batch(len(label))

    def whole(shares: list[Tensor]) -> Tensor:
        return gather_interleaved(torch.cat(shares), device)[: len(pictures)]

    return TokenSet(whole(ids), whole(labels), pictures.facts)


def check_ids(folder: Path, facts: dict, overwrite: bool) -> None:
    """ValueError where `folder` holds the ids of other pictures, or of another tokenizer, and they must stay."""
    path = folder / IDS_FILE
    if path.exists() and not overwrite and load_tokens(path, facts) is None:
        raise ValueError(
            f"'{path}' holds the ids of other pictures, or those of another tokenizer. Name another --out, or add "
            "--force to replace them."
        )


def encode_once(tokenizer: Tokenizer, pictures: PictureSet, run: Run) -> TokenSet:
    """The ids of `pictures`, made once and kept in the run's folder, where a training that resumes finds them.

    The facts of `pictures` say what they depend on, with the tokenizer's fingerprint. Raises ValueError as `check_ids`
    does, and OSError where they can't be written. Under `torchrun` every process makes its share; the first one writes
    them, where all of them look for them later.
    """
    path, facts = run.reporting.folder / IDS_FILE, pictures.facts
    broadcast_from_rank_0(lambda: check_ids(run.reporting.folder, facts, run.reporting.overwrite))
    if not broadcast_from_rank_0(lambda: load_tokens(path, facts) is not None):
        share = -(-len(pictures) // rank_and_world_size()[1])
        with Progress("ids", share, "pictures a process", shown=is_rank_0()) as progress:
            tokens = encode_pictures(tokenizer, pictures, run.device, run.reporting.workers, on_batch=progress.advance)
        if is_rank_0():
            save_tokens(tokens, path)
        wait_for_all()
        return tokens
    tokens = load_tokens(path, facts)
    if tokens is None:
        raise FileNotFoundError(
            f"The ids '{path}', which the first process has, aren't here. Give all machines an --out folder that they "
            "share."
        )
    return tokens


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
    # Damaged bytes, or metadata that is missing or isn't ours.
    except (SafetensorError, TypeError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"'{path}' is damaged ({error}). Delete it; the next run makes it again.") from error
