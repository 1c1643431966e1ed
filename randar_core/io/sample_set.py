"""A set of pictures as one `.npz`, as FID evaluators read it, from shards that any number of processes write.

Each batch is a file of its own until all are there, so that a run that was cut can go on. Nothing holds more than a
batch in memory; the disk holds the set twice while it is put together.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy
from einops import rearrange
from torch import Tensor

from .atomic import replacing
from .images import reason_of, to_levels

FACTS = "parameters"


@dataclass(frozen=True)
class Shards:
    """The set at `path`, whose shards lie in a folder beside it. `facts` say what is drawn, JSON-able."""

    path: Path
    facts: dict

    @property
    def folder(self) -> Path:
        return self.path.with_name(self.path.name + ".shards")

    def begin(self, resume: bool) -> set[int]:
        """The pictures that finished shards hold, once the folder is there.

        Raises ValueError where there is a set or a part of one already and `resume` isn't asked for, or where that is a
        set of other facts.
        """
        facts, done = self.folder / "facts.json", self.path.exists()
        if not resume and (done or facts.exists()):
            raise ValueError(
                f"'{self.path if done else self.folder}' is there already. Add --resume to go on with it, delete it, "
                "or name another."
            )
        if done:
            with _opened(self.path) as found:
                before = json.loads(str(found[FACTS])) if FACTS in found else {}
                pictures = set(found["pictures"].tolist())
            self._check(before)
            return pictures
        if facts.exists():
            with _naming_damage(facts):
                before = json.loads(facts.read_text(encoding="utf-8"))
            self._check(before)
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            with _written(facts) as part:
                part.write_text(json.dumps(self.facts, ensure_ascii=False), encoding="utf-8")
        return set(self._places())

    def add(self, pictures: Sequence[int], pixels: Tensor) -> None:
        """Write the shard of `pictures`, indices of pixels `[B, 3, H, W]` in 0…1. It is there whole or not at all.

        Raises OSError, naming the shard, where it can't be written.
        """
        levels = rearrange(to_levels(pixels), "b c h w -> b h w c").cpu().numpy()
        shard = self.folder / f"{pictures[0]:08}.npz"
        with _written(shard) as part, part.open("wb") as file:
            numpy.savez(file, pictures=numpy.array(pictures), pixels=levels)

    def assemble(self, classes: Mapping[int, int]) -> None:
        """Write the set of the pictures whose classes are given, in that order, and remove the shards.

        `arr_0` are the pictures, uint8 `[N, H, W, 3]`, and `arr_1` their classes, `[N]`: the names of ADM's evaluator
        (arXiv 2105.05233). Beside them lie `pictures` `[N]`, their indices, and the facts. Raises ValueError where
        shards are missing or damaged, OSError where the set can't be written.
        """
        if self.path.exists():  # a run that had finished was resumed, or one that was cut before it tidied up
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        places = self._places()
        missing = [picture for picture in classes if picture not in places]
        if missing:
            raise ValueError(
                f"{len(missing)} of {len(classes)} pictures are missing in '{self.folder}', the first is {missing[0]}. "
                "On several machines it must lie in a folder that they share. Run the command again with --resume."
            )
        with _written(self.path) as part:
            self._write(part, classes, places)
        shutil.rmtree(self.folder)

    def _write(self, path: Path, classes: Mapping[int, int], places: dict[int, tuple[Path, int]]) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            with archive.open("arr_0.npy", "w", force_zip64=True) as file:
                header_written = False
                for shard, pictures in itertools.groupby(classes, lambda picture: places[picture][0]):
                    with _opened(shard) as found:
                        pixels = found["pixels"]
                    if not header_written:
                        shape = (len(classes), *pixels.shape[1:])
                        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                        numpy.lib.format.write_array_header_1_0(file, header)
                        header_written = True
                    for picture in pictures:
                        file.write(pixels[places[picture][1]].tobytes())
            for name, values in (
                ("arr_1", list(classes.values())),
                ("pictures", list(classes)),
                (FACTS, json.dumps(self.facts, ensure_ascii=False)),
            ):
                with archive.open(f"{name}.npy", "w") as file:
                    numpy.lib.format.write_array(file, numpy.array(values))

    def _places(self) -> dict[int, tuple[Path, int]]:
        """The shard of each picture that is drawn, and its row there."""
        places = {}
        for shard in sorted(self.folder.glob("*.npz")):
            with _opened(shard) as found:
                places |= {picture: (shard, row) for row, picture in enumerate(found["pictures"].tolist())}
        return places

    def _check(self, before: dict) -> None:
        """ValueError naming what differs between the set that is there and the one that is asked for."""
        # As they come back from JSON, which knows no tuples.
        now = json.loads(json.dumps(self.facts))
        changed = [
            f"{name}: {before.get(name, 'not set')} then, {now.get(name, 'not set')} now"
            for name in sorted(before.keys() | now.keys())
            if before.get(name) != now.get(name)
        ]
        if changed:
            raise ValueError(
                f"'{self.path}' was begun with other settings ({'; '.join(changed)}). Use those to resume it, or name "
                "another file."
            )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Mapping]:
    """The arrays in a file; ValueError, naming it, where it is damaged."""
    with _naming_damage(path), numpy.load(path) as found:
        yield found


@contextlib.contextmanager
def _naming_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"'{path}' is damaged ({error}). Delete it and run the command again with --resume; what it held is drawn "
            "anew."
        ) from error


@contextlib.contextmanager
def _written(path: Path) -> Iterator[Path]:
    """As `replacing`; OSError, naming the file, where it can't be written."""
    try:
        with replacing(path) as part:
            yield part
    except OSError as error:
        raise OSError(
            f"'{path}' can't be written{reason_of(error)} Then run the command again with --resume."
        ) from error


def batches_left(pictures: Sequence[int], finished: set[int], size: int, whole: bool = False) -> list[list[int]]:
    """`pictures` in batches of `size`, without those that are finished.

    Which pictures may share a batch doesn't depend on who draws them. With `whole`, for weights that make a picture
    depend on those beside it, a batch that isn't finished is drawn again as a whole.
    """
    batches = [list(pictures[start : start + size]) for start in range(0, len(pictures), size)]
    if whole:
        return [batch for batch in batches if not finished.issuperset(batch)]
    left = ([picture for picture in batch if picture not in finished] for batch in batches)
    return [batch for batch in left if batch]
