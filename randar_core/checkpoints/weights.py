"""Reading files of weights without running anything from them and without copying them into memory."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

ZIP, LEGACY_PICKLE = b"PK\x03\x04", b"\x80"


class CheckpointError(ValueError):
    """A file of weights that can't be used. The message names the file, what was found and what was expected."""


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file by key, mapped from the disk where the format allows it, and its metadata (safetensors)."""

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def read(path: str | Path) -> Checkpoint:
    """Open a `.safetensors` file, or a PyTorch pickle that holds nothing but tensors.

    Tensors of a safetensors file, and of a pickle in PyTorch's zip format, stay on the disk until they are used. A
    pickle is read by PyTorch's restricted unpickler; the one class it may hold is `argparse.Namespace`, which training
    code leaves beside the weights. Raises FileNotFoundError, and CheckpointError for a file that is cut, foreign, or
    holds code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file '{path}'.")
    with path.open("rb") as file:
        head = file.read(64)
    other = _what_else(head)
    if other:
        raise CheckpointError(f"'{path}' {other}.")
    if path.suffix == ".safetensors" or head[8:9] == b"{":
        return _read_safetensors(path, head)
    return Checkpoint(path, _read_pickle(path, mapped=head.startswith(ZIP)), {})


def _what_else(head: bytes) -> str | None:
    """What commonly lies on the disk in place of weights, as the end of a sentence that begins with the file's name."""
    if not head:
        return "is empty. Fetch it again"
    if head.startswith(b"version https://git-lfs"):
        return "is only a Git LFS pointer, not the weights. Run `git lfs pull`, or download the file itself"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "is a web page, not weights: the download fetched the page that shows the file. Fetch the file itself"
    return None


def _read_safetensors(path: Path, head: bytes) -> Checkpoint:
    try:
        with safe_open(path, framework="pt") as file:
            return Checkpoint(path, {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {})
    except SafetensorError as error:
        raise CheckpointError(f"'{path}' {_what_is_wrong(path.stat().st_size, head)} ({error}).") from error


def _what_is_wrong(size: int, head: bytes) -> str:
    """Why the safetensors library refuses a file, as the end of a sentence that begins with the file's name."""
    if head.startswith((ZIP, LEGACY_PICKLE)):
        return "is named .safetensors but looks like a PyTorch pickle. If that is what it should be, rename it to .pt"
    if head[8:9] != b"{":
        return "is no safetensors file"
    return f"is cut or damaged: its {size} bytes don't fit its header. Fetch it again"


def _read_pickle(path: Path, mapped: bool) -> dict[str, Tensor]:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # damaged bytes can make an unpickler raise anything
        foreign = re.search(r"(?:GLOBAL|class|function) ([\w.]+\.[\w.]+)", str(error))
        if foreign and "weights_only" in str(error):
            raise CheckpointError(
                f"'{path}' holds more than weights: it asks for {foreign[1]}, and loading that could run code. Nothing "
                "of it was run. Take the file from its authors, or one in the safetensors format."
            ) from error
        raise CheckpointError(
            f"'{path}' is a cut or damaged PyTorch pickle. Fetch it again ({str(error).splitlines()[0] or error!r})."
        ) from error
    return _state_dict(path, found)


def _state_dict(path: Path, found: object) -> dict[str, Tensor]:
    """The weights of an unpickled object: itself, or what LlamaGen's training keeps under `model`."""
    weights = found.get("model", found) if isinstance(found, dict) else found
    if not isinstance(weights, dict):
        raise CheckpointError(f"'{path}' holds a {type(weights).__name__}; expected a state dict of tensors by name.")
    for key, value in weights.items():
        if not (isinstance(key, str) and isinstance(value, Tensor)):
            raise CheckpointError(
                f"'{path}' is no state dict: under {key!r} it holds a {type(value).__name__}; expected a tensor. "
                f"Its keys begin with {', '.join(map(repr, list(weights)[:3]))}."
            )
    return dict(weights)
