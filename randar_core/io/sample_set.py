"""A set of pictures as one `.npz`, as FID evaluators read it, from shards that any number of processes write.

Each batch is a file of its own until all are there, so that a run that was cut can be resumed. No step holds more than
a batch in memory; the disk holds the set twice while it is assembled.
"""

import contextlib
import itertools
import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from einops import rearrange
from torch import Tensor

from .atomic import atomic_write
from .changed_settings import changed_settings
from .images import to_uint8
from .writable import reason_of

METADATA = "parameters"  # its array in the set


@dataclass(frozen=True)
class SampleSet:
    """The set at `path`, with a folder of shards next to it. `metadata` says what is drawn, JSON-able."""

    path: Path
    metadata: dict

    @property
    def folder(self) -> Path:
        return self.path.with_name(self.path.name + ".shards")

    def begin(self, resume: bool) -> set[int]:
        """Make the folder and return the pictures that finished shards hold.

        Raises ValueError where there is a set or a part of one already and `resume` isn't asked for, or where that is a
        set of other metadata.
        """
        settings, done = self.folder / "facts.json", self.path.exists()
        if not resume and (done or settings.exists()):
            raise ValueError(
                f"'{self.path if done else self.folder}' exists already. Add --resume to continue it, delete it, or "
                "name another."
            )
        if done:
            with open_arrays(self.path) as found:
                before = json.loads(str(found[METADATA])) if METADATA in found else {}
                pictures = set(found["pictures"].tolist())
            self.check(before)
            return pictures
        if settings.exists():
            with naming_damage(settings):
                before = json.loads(settings.read_text(encoding="utf-8"))
            self.check(before)
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            with written(settings) as temporary:
                temporary.write_text(json.dumps(self.metadata, ensure_ascii=False), encoding="utf-8")
        return set(self.rows())

    def add(self, pictures: Sequence[int], pixels: Tensor) -> None:
        """Write the shard of `pictures`, indices of pixels `[B, 3, H, W]` in 0…1. It appears whole or not at all.

        Raises OSError, naming the shard, where it can't be written.
        """
        values = rearrange(to_uint8(pixels), "b c h w -> b h w c").cpu().numpy()
        shard = self.folder / f"{pictures[0]:08}.npz"
        with written(shard) as temporary, temporary.open("wb") as file:
            np.savez(file, pictures=np.array(pictures), pixels=values)

    def assemble(self, classes: Mapping[int, int]) -> None:
        """Write the set of the pictures in `classes`, in that order, and remove the shards.

        `arr_0` are the pictures, uint8 `[N, H, W, 3]`, and `arr_1` their classes, `[N]`: the names of ADM's evaluator
        (arXiv 2105.05233). Next to them are `pictures` `[N]`, their indices, and the metadata. Raises ValueError where
        shards are missing or damaged, OSError where the set can't be written.
        """
        if self.path.exists():  # the resumed run had finished, or was cut before it removed its shards
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        rows = self.rows()
        missing = [picture for picture in classes if picture not in rows]
        if missing:
            raise ValueError(
                f"{len(missing)} of {len(classes)} pictures are missing in '{self.folder}', the first is {missing[0]}. "
                "On several machines it must be in a folder that they share. Run the command again with --resume."
            )
        with written(self.path) as temporary:
            self.write(temporary, classes, rows)
        shutil.rmtree(self.folder)

    def write(self, path: Path, classes: Mapping[int, int], rows: dict[int, tuple[Path, int]]) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            with archive.open("arr_0.npy", "w", force_zip64=True) as file:
                header_written = False
                for shard, pictures in itertools.groupby(classes, lambda picture: rows[picture][0]):
                    with open_arrays(shard) as found:
                        pixels = found["pixels"]
                    if not header_written:
                        shape = (len(classes), *pixels.shape[1:])
                        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                        np.lib.format.write_array_header_1_0(file, header)
                        header_written = True
                    for picture in pictures:
                        file.write(pixels[rows[picture][1]].tobytes())
            for name, values in (
                ("arr_1", list(classes.values())),
                ("pictures", list(classes)),
                (METADATA, json.dumps(self.metadata, ensure_ascii=False)),
            ):
                with archive.open(f"{name}.npy", "w") as file:
                    np.lib.format.write_array(file, np.array(values))

    def rows(self) -> dict[int, tuple[Path, int]]:
        """The shard of each picture that is drawn, and its row there."""
        rows = {}
        for shard in sorted(self.folder.glob("*.npz")):
            with open_arrays(shard) as found:
                rows |= {picture: (shard, row) for row, picture in enumerate(found["pictures"].tolist())}
        return rows

    def check(self, before: dict) -> None:
        """Raises ValueError naming what differs between the set that exists and the one that is asked for."""
        if changed := changed_settings(before, self.metadata):
            raise ValueError(
                f"'{self.path}' was begun with other settings ({'; '.join(changed)}). Use those to resume it, or name "
                "another file."
            )


@contextlib.contextmanager
def open_arrays(path: Path) -> Iterator[Mapping]:
    """The arrays in a file. Raises ValueError, naming it, where it is damaged."""
    with naming_damage(path), np.load(path) as found:
        yield found


@contextlib.contextmanager
def naming_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"'{path}' is damaged ({error}). Delete it and run the command again with --resume; what it held is drawn "
            "again."
        ) from error


@contextlib.contextmanager
def written(path: Path) -> Iterator[Path]:
    """As `atomic_write`. Raises OSError, naming the file, where it can't be written."""
    try:
        with atomic_write(path) as temporary:
            yield temporary
    except OSError as error:
        raise OSError(
            f"'{path}' can't be written{reason_of(error)} Then run the command again with --resume."
        ) from error


def remaining_batches(pictures: Sequence[int], finished: set[int], size: int, whole: bool = False) -> list[list[int]]:
    """`pictures` in batches of `size`, without those that are finished.

    Which pictures may share a batch doesn't depend on which process draws them. With `whole`, for weights that make a
    picture depend on the others in its batch, a batch that isn't finished is drawn again as a whole.
    """
    batches = [list(pictures[start : start + size]) for start in range(0, len(pictures), size)]
    if whole:
        return [batch for batch in batches if not finished.issuperset(batch)]
    remaining = ([picture for picture in batch if picture not in finished] for batch in batches)
    return [batch for batch in remaining if batch]
