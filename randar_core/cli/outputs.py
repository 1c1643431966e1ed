"""Where commands write. No command replaces a file that it didn't make in this run, unless --force allows it."""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..io.changed_settings import changed_settings
from ..io.images import contact_sheet, read_metadata, save_png
from ..io.run_lock import RunLock
from ..io.sample_set import SampleSet
from ..io.writable import writable_folder, writable_picture
from ..runtime.distributed import broadcast_from_rank_0, is_rank_0
from .requests import Request

FILE_SUFFIXES = frozenset(".png .jpg .jpeg .webp .bmp .tif .tiff .gif .npz .json .safetensors".split())


def check_free(path: Path, force: bool, option: str = "--out") -> None:
    """ValueError where `path` exists and may not be replaced."""
    if path.exists() and not force:
        raise ValueError(
            f"'{path}' exists already. Name another file{f' with {option}' if option else ''}, or add --force to "
            "replace it."
        )


def picture_to_write(path: Path, force: bool) -> Path:
    """`path`, for a PNG; its folder is made if needed. ValueError, before any work, where it can't be written."""
    writable_picture(path)
    check_free(path, force)
    return path


def folder_to_write(path: Path) -> Path:
    """`path`, a folder; it is made if needed. ValueError for the name of a file, and where it can't be written to."""
    if path.suffix.lower() in FILE_SUFFIXES and not path.is_dir():
        raise ValueError(
            f"--out names a folder here, and '{path}' looks like a file. The names of the files in it are chosen "
            f"automatically: name a folder, such as '{path.with_suffix('')}'."
        )
    return writable_folder(path)


@contextlib.contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Within it, no other run takes the same lock; under `torchrun` the first process holds it for all.

    Raises ValueError where another run has it.
    """
    lock = RunLock(path, what)
    broadcast_from_rank_0(lock.acquire)
    try:
        yield
    finally:
        if is_rank_0():
            lock.release()


@dataclass(frozen=True)
class Files:
    """A PNG for each picture, in `folder`, with the metadata of its request."""

    folder: Path
    metadata: Callable[[Request], dict]
    force: bool = False

    def path(self, request: Request) -> Path:
        return self.folder / request.file_name

    def begin(self, requests: Sequence[Request], resume: bool) -> set[int]:
        """The pictures that a resume finds, drawn with the same settings. ValueError for files in the way."""
        existing = [request for request in requests if self.path(request).exists()]
        if not existing or (self.force and not resume):
            return set()
        finished, first = set(), ""
        for request in existing:
            found = read_metadata(self.path(request))
            changed = changed_settings(found or {}, self.metadata(request))
            if not changed:
                finished.add(request.index)
            elif not first:
                path = self.path(request)
                first = f"'{path}' ({'; '.join(changed)})" if found else f"'{path}' (drawn by another program)"
        others = len(existing) - len(finished)
        if resume and others and not self.force:
            raise ValueError(
                f"{others} of {len(requests)} pictures exist already, with other settings: {first}"
                f"{', …' if others > 1 else ''}. Resume with the settings they were drawn with, name another --out, or "
                "add --force to replace them."
            )
        if not resume:
            raise ValueError(
                f"{len(existing)} of {len(requests)} pictures exist already, such as '{self.path(existing[0])}'. Add "
                "--resume to keep them and draw the others, name another --out, or add --force to replace them."
            )
        return finished

    def add(self, requests: Sequence[Request], pixels: Tensor) -> None:
        for request, image in zip(requests, pixels, strict=True):
            path = self.path(request)
            if path.exists() and not self.force:  # it wasn't there when this run began
                raise ValueError(
                    f"'{path}' was written meanwhile, by another run into the same folder. Name another --out, or "
                    "continue with --resume when the other run is done."
                )
            save_png(path, image, self.metadata(request))

    def finish(self, requests: Sequence[Request]) -> None:
        pass


@dataclass(frozen=True)
class Sheet:
    """All pictures in one file, in rows of `columns`."""

    path: Path
    columns: int
    force: bool = False
    pixels: list[Tensor] = field(default_factory=list)

    def begin(self, requests: Sequence[Request], resume: bool) -> set[int]:
        check_free(self.path, self.force)
        return set()

    def add(self, requests: Sequence[Request], pixels: Tensor) -> None:
        self.pixels.extend(pixels.float().cpu())

    def finish(self, requests: Sequence[Request]) -> None:
        check_free(self.path, self.force)
        metadata = {"classes": [request.class_id if request.plain else request.title for request in requests]}
        save_png(self.path, contact_sheet(torch.stack(self.pixels), self.columns), metadata)


@dataclass(frozen=True)
class Npz:
    """One file for evaluators, see `SampleSet`."""

    set: SampleSet
    force: bool = False

    def begin(self, requests: Sequence[Request], resume: bool) -> set[int]:
        if self.force and not resume:
            self.set.path.unlink(missing_ok=True)
            shutil.rmtree(self.set.folder, ignore_errors=True)
        return self.set.begin(resume)

    def add(self, requests: Sequence[Request], pixels: Tensor) -> None:
        self.set.add([request.index for request in requests], pixels)

    def finish(self, requests: Sequence[Request]) -> None:
        self.set.assemble({request.index: request.class_id for request in requests})
