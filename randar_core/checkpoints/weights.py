"""Reading files of weights without running anything from them and without copying them into memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from .pickle_names import OtherTensor, PickleError, TensorRecord, is_tensor
from .pickles import ZIP, PickledFile

PICKLE = b"\x80"
SHOWN = 4  # keys that a message names before it only counts
KEY_LENGTH = 120  # characters of a key in a message

# Where training code keeps the weights that are meant to be used, in the order in which the authors' samplers look.
WRAPPERS = ("model", "module", "state_dict", "ema", "model_ema")
# What DDP, Lightning, and `torch.compile`, FSDP and activation checkpointing put before the names of weights.
PREFIXES = ("module.", "model.")
WRAPPER_MODULES = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})

INDEX_SUFFIX = ".safetensors.index.json"
SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}\.safetensors")
FOLDER_FILES = ("model.safetensors", f"model{INDEX_SUFFIX}")


class CheckpointError(ValueError):
    """A file of weights that can't be used. The message names the file, what was found and what was expected."""


@dataclass(frozen=True)
class FileVersion:
    """What tells a file from one that was written to its name later."""

    path: Path
    size: int
    modified: int
    changed: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> FileVersion:
        """Raises FileNotFoundError where there is none."""
        status = path.stat()
        return cls(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)

    @property
    def key(self) -> tuple:
        """All of it as values that can be compared and stored."""
        return str(self.path), self.size, self.modified, self.changed, self.inode

    def check(self) -> None:
        """CheckpointError where the file has changed since."""
        try:
            same = FileVersion.of(self.path) == self
        except OSError:
            same = False
        if not same:
            raise CheckpointError(f"'{self.path}' was changed while it was being read. Load it again.")


@dataclass(frozen=True)
class Checkpoint:
    """The weights of a file, and what else it says.

    path: the file.
    tensors: by key, mapped from the disk.
    metadata: of a safetensors file.
    wrapper: where in a training checkpoint the weights were, such as "model", and what else was there.
    versions: of the files that were read.
    """

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    wrapper: str = ""
    versions: tuple[FileVersion, ...] = ()

    def json(self, key: str) -> dict:
        """The JSON object under `key` of the metadata. Raises CheckpointError where it is something else."""
        text = self.metadata.get(key, "")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"The metadata '{key}' of '{self.path}' is not JSON: {error}.") from error
        if not isinstance(value, dict):
            raise CheckpointError(f"The metadata '{key}' of '{self.path}' is {text[:40]}; expected a JSON object.")
        return value


def read_weights(path: str | Path) -> Checkpoint:
    """The weights in a file or folder.

    A file in the safetensors format, the index or a shard of a set of such files, or a checkpoint of `torch.save`, of
    which nothing is run, see `pickles`. Of a folder its `model.safetensors` or the index of its shards is taken.
    Prefixes that `torch.compile` and multi-GPU training put before the keys are removed. Raises FileNotFoundError, and
    CheckpointError for a file that is cut, foreign, holds code, or can't be read.
    """
    path = Path(path)
    try:
        if path.is_dir():
            path = file_of_folder(path)
        if not path.is_file():
            raise FileNotFoundError(f"There is no file '{path}'.")
        checkpoint = read_file(path)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise CheckpointError(f"'{path}' can't be read: {error.strerror or error}.") from error
    except PickleError as error:
        raise CheckpointError(f"'{path}' {error}.") from error
    return Checkpoint(
        checkpoint.path,
        without_prefixes(checkpoint.path, checkpoint.tensors),
        checkpoint.metadata,
        checkpoint.wrapper,
        checkpoint.versions,
    )


def read_file(path: Path) -> Checkpoint:
    if path.name.endswith(INDEX_SUFFIX):
        return read_shards(path)
    if shard := SHARD.fullmatch(path.name):
        index = path.with_name(f"{shard[1]}{INDEX_SUFFIX}")
        if not index.is_file():
            raise CheckpointError(
                f"'{path}' is one shard of a set, and the index '{index.name}' is not next to it. Fetch the whole set."
            )
        return read_shards(index)
    with path.open("rb") as file:
        head = file.read(256)
    if found := other_kind(path, head):
        raise CheckpointError(f"'{path}' {found}.")
    if path.suffix == ".safetensors" or head[8:9] == b"{":
        return read_safetensors(path, head)
    version = FileVersion.of(path)
    pickled = PickledFile(path)
    weights, wrapper = unwrapped(path, pickled.content)
    return Checkpoint(path, {key: pickled.tensor(record) for key, record in weights.items()}, {}, wrapper, (version,))


def file_of_folder(folder: Path) -> Path:
    """The file of weights in a folder."""
    for name in FOLDER_FILES:
        if (folder / name).is_file():
            return folder / name
    there = sorted(path.name for path in folder.iterdir())
    raise CheckpointError(
        f"'{folder}' is a folder without {' or '.join(FOLDER_FILES)}. Give the file of the weights. "
        + (f"The folder holds {first_of(there)}." if there else "The folder is empty.")
    )


def read_shards(index: Path) -> Checkpoint:
    """The weights of a set of safetensors files, by the index that says which file holds which key."""
    try:
        files = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        valid = isinstance(files, dict) and bool(files) and all(isinstance(name, str) for name in files.values())
    except (ValueError, KeyError, TypeError, RecursionError):
        valid = False
    if not valid:
        raise CheckpointError(f"'{index}' is not the index of a sharded checkpoint. Fetch it again.")
    names = sorted(set(files.values()))
    if outside := [name for name in names if Path(name).name != name or "\\" in name]:
        raise CheckpointError(f"'{index}' names files outside of its folder: {first_of(outside)}. Nothing was read.")
    if missing := [name for name in names if not (index.parent / name).is_file()]:
        raise CheckpointError(f"Of the shards of '{index}', these are missing: {first_of(missing)}. Fetch them too.")
    shards = []
    for name in names:
        with (index.parent / name).open("rb") as file:
            shards.append(read_safetensors(index.parent / name, file.read(256)))
    tensors = {key: tensor for shard in shards for key, tensor in shard.tensors.items()}
    if lacking := [key for key in files if key not in tensors]:
        raise CheckpointError(f"The shards of '{index}' lack {first_of(lacking)}. Fetch the whole set again.")
    versions = tuple(version for shard in shards for version in shard.versions)
    return Checkpoint(index, tensors, shards[0].metadata, versions=(FileVersion.of(index), *versions))


def read_safetensors(path: Path, head: bytes) -> Checkpoint:
    version = FileVersion.of(path)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}
            return Checkpoint(path, tensors, file.metadata() or {}, versions=(version,))
    except SafetensorError as error:
        raise CheckpointError(f"'{path}' {what_is_wrong(path.stat().st_size, head)} ({error}).") from error
    except (KeyError, ValueError, RuntimeError, AttributeError) as error:  # a dtype that this torch lacks
        raise CheckpointError(f"'{path}' holds tensors that can't be read here: {error}.") from error


def other_kind(path: Path, head: bytes) -> str | None:
    """What is often found in place of weights, as the end of a sentence that begins with the file's name."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not head:
        return "is empty. Fetch it again"
    if head.startswith(b"version https://git-lfs"):
        return "is only a Git LFS pointer, not the weights. Run `git lfs pull`, or download the file itself"
    if text.lower().startswith((b"<!doctype", b"<html")):
        return "is a web page, not weights: the download fetched a page in place of the file. Fetch the file itself"
    if text.startswith(b"<"):
        return f"is XML, such as the error message of a server, not weights ({shown(text)}). Fetch the file itself"
    if text.startswith((b"{", b"[")) and b"\0" not in head:
        return f"is JSON, such as the error message of a server, not weights ({shown(text)}). Fetch the file itself"
    if head.startswith(b"GGUF"):
        return "is a GGUF file, a format of llama.cpp. Expected safetensors or a checkpoint of `torch.save`"
    if path.suffix.lower() == ".onnx" or (head.startswith(b"\x08") and re.search(rb"pytorch|onnx|tf2onnx", head)):
        return "is an ONNX file, a program for inference. Expected safetensors or a checkpoint of `torch.save`"
    if head.startswith(b"\x89HDF"):
        return "is an HDF5 file, as Keras writes it. Expected safetensors or a checkpoint of `torch.save`"
    if head.startswith((b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
        return "is a compressed archive. Unpack it"
    if head.startswith(b"\x93NUMPY"):
        return "is a NumPy array. Expected safetensors or a checkpoint of `torch.save`"
    if head.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF")):
        return "is a picture or a media file, not weights"
    return None


def shown(text: bytes) -> str:
    return " ".join(text[:60].decode("utf-8", errors="replace").split())


def what_is_wrong(size: int, head: bytes) -> str:
    """Why the safetensors library refuses a file, as the end of a sentence that begins with the file's name."""
    if head.startswith((ZIP, PICKLE)):
        return "is named .safetensors but looks like a PyTorch checkpoint. If it is one, rename it to .pt"
    if head[8:9] != b"{":
        return "is not a safetensors file"
    return f"is cut or damaged: its {size} bytes don't fit its header. Fetch it again"


def unwrapped(path: Path, found: object) -> tuple[dict[str, TensorRecord], str]:
    """The weights of an unpickled object, and where they were: at the top, or under a key of `WRAPPERS`."""
    taken: list[str] = []
    others: list[str] = []
    for _ in WRAPPERS:  # no deeper: an object may hold itself
        key = next((key for key in WRAPPERS if isinstance(found, Mapping) and may_hold_weights(found.get(key))), None)
        if key is None:
            break
        others += [name for name in found if isinstance(name, str) and name != key]
        taken.append(key)
        found = found[key]
    if not isinstance(found, Mapping):
        raise CheckpointError(f"'{path}' holds a {type(found).__name__}; expected a state dict of tensors by name.")
    for key, value in found.items():
        if not isinstance(key, str) or not is_tensor(value):
            name = repr(key[:80]) if isinstance(key, str) else f"a key of type {type(key).__name__}"
            keys = [other for other in found if isinstance(other, str)]
            what = "tensor" if is_tensor(value) else type(value).__name__
            raise CheckpointError(
                f"'{path}' is not a state dict: under {name} it holds a {what}; expected tensors by name. "
                f"Its keys begin with {first_of(keys)}."
            )
        if isinstance(value, OtherTensor):
            raise CheckpointError(f"'{path}' holds a {value.kind} tensor under '{key}'; expected plain weights.")
    wrapper = "" if not taken else f"under '{'.'.join(taken)}'" + (f", next to {first_of(others)}" if others else "")
    return dict(found), wrapper


def may_hold_weights(value: object) -> bool:
    return isinstance(value, Mapping) and (
        any(map(is_tensor, value.values())) or any(isinstance(value.get(key), Mapping) for key in WRAPPERS)
    )


def without_prefixes(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """`tensors` with the names that they have in the network."""
    named = {key: ".".join(word for word in key.split(".") if word not in WRAPPER_MODULES) for key in tensors}
    while prefix := next((p for p in PREFIXES if named and all(name.startswith(p) for name in named.values())), None):
        named = {key: name.removeprefix(prefix) for key, name in named.items()}
    if len(set(named.values())) < len(named):
        raise CheckpointError(
            f"'{path}' holds the same weights under several names, such as {first_of(sorted(named))}. "
            "Keep one copy of them."
        )
    return {name: tensors[key] for key, name in named.items()}


def first_of(keys: Iterable[str]) -> str:
    """The first of `keys`, and how many more there are."""
    keys = list(keys)
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return ", ".join(map(printable, keys[:SHOWN])) + more


def printable(key: str) -> str:
    """`key` for a message: a file can hold keys of any length, and such as a terminal takes for commands."""
    short = key if len(key) <= KEY_LENGTH else f"{key[:KEY_LENGTH]}…"
    return short if short.isprintable() else repr(short)
