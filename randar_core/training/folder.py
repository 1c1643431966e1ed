"""A folder of pictures with one sub-folder a class, and all that is left out of it, by name and reason."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from torch.utils.data import Dataset

from ..io.images import FORMATS, upright
from ..runtime.progress_lines import Progress

READERS = 8  # threads
NAMES_SHOWN = 20  # of the files that are left out for one reason; damaged and small pictures are all named


@dataclass(frozen=True)
class LeftOut:
    """Files that a training doesn't use, sorted by reason."""

    unusable: tuple[tuple[Path, str], ...] = ()
    """Pictures that are damaged or too small, each with its fault."""
    not_pictures: tuple[Path, ...] = ()
    """Files that Pillow doesn't recognise, such as captions."""
    loose: tuple[Path, ...] = ()
    """Files next to the class folders: without a class."""
    linked_twice: tuple[Path, ...] = ()
    """Linked folders whose files are there already."""

    def __len__(self) -> int:
        return len(self.unusable) + len(self.not_pictures) + len(self.loose) + len(self.linked_twice)

    def lines(self) -> list[str]:
        """What to tell the user: every picture that can't be used, and the other files by their number."""
        lines = [f"left out {path}: {fault}" for path, fault in self.unusable]
        for paths, words in (
            (self.not_pictures, "files that aren't pictures Pillow can read"),
            (self.loose, "files next to the class folders, which belong to no class"),
            (self.linked_twice, "linked folders that were read already"),
        ):
            if paths:
                names = ", ".join(path.name for path in paths[:NAMES_SHOWN])
                more = f" and {len(paths) - NAMES_SHOWN:,} more" if len(paths) > NAMES_SHOWN else ""
                lines.append(f"left out {len(paths):,} {words}: {names}{more}")
        return lines


@dataclass(frozen=True)
class Folder(Dataset):
    """`folder[i]` is (uint8 [size, size, 3], label): the shorter side scaled to `size`, the middle cut out."""

    root: Path
    classes: tuple[str, ...]
    files: tuple[tuple[Path, int], ...]
    left_out: LeftOut
    size: int

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        path, label = self.files[index]
        return read_square(path, self.size), label

    def facts(self) -> dict:
        """What must be the same when a training resumes."""
        # Sizes with the names, so that a picture that was replaced is noticed; hashes would take a reading of all.
        files = ((path.relative_to(self.root).as_posix(), path.stat().st_size, label) for path, label in self.files)
        names = "\n".join(f"{name} {size} {label}" for name, size, label in files)
        return {
            "pictures": len(self.files),
            "size": self.size,
            "classes": list(self.classes),
            "files": hashlib.blake2b(names.encode(errors="surrogateescape"), digest_size=8).hexdigest(),
        }


def open_folder(root: Path, size: int) -> Folder:
    """Read every picture of `root` once and keep those that can be used, whatever their names end in.

    Classes and files are in the order of their names. Hidden files are passed over; all others that aren't used are in
    `left_out`. Linked folders are followed, each once a class. Raises ValueError where there is no folder, no
    sub-folder, or a class without pictures that can be used.
    """
    if not root.is_dir():
        raise ValueError(f"There is no folder '{root}'. Give one that holds a sub-folder of pictures for each class.")
    entries = by_name(entry for entry in root.iterdir() if not entry.name.startswith("."))
    folders = [entry for entry in entries if entry.is_dir()]
    if not folders:
        raise ValueError(
            f"'{root}' has no sub-folders. Put the pictures of each class into a sub-folder with the name of the class."
        )
    twice: list[Path] = []
    found = [by_name(files_under(folder, twice)) for folder in folders]
    with (
        ThreadPoolExecutor(READERS) as pool,
        Progress("reading pictures", sum(map(len, found)), "files") as progress,
    ):
        files, unusable, not_pictures = [], [], []
        for label, (folder, paths) in enumerate(zip(folders, found, strict=True)):
            checks = []
            for check in pool.map(lambda path: check_picture(path, size), paths):
                checks.append(check)
                progress.advance()
            good = [(path, label) for path, check in zip(paths, checks, strict=True) if check == USABLE]
            no_fault = (USABLE, NO_PICTURE)
            bad = [(path, check) for path, check in zip(paths, checks, strict=True) if check not in no_fault]
            if not good:
                raise ValueError(no_pictures(folder, paths, bad))
            files += good
            unusable += bad
            not_pictures += [path for path, check in zip(paths, checks, strict=True) if check == NO_PICTURE]
    loose = tuple(entry for entry in entries if not entry.is_dir())
    left_out = LeftOut(tuple(unusable), tuple(not_pictures), loose, tuple(twice))
    return Folder(root, tuple(folder.name for folder in folders), tuple(files), left_out, size)


def no_pictures(folder: Path, paths: Sequence[Path], bad: Sequence[tuple[Path, str]]) -> str:
    if not paths:
        return f"The class folder '{folder}' holds no pictures. Put some there, or remove the folder."
    if not bad:
        return (
            f"The class folder '{folder}' holds no pictures that can be read, only {len(paths)} other files such as "
            f"'{paths[0].name}'. Put pictures there, or remove the folder."
        )
    return (
        f"None of the {len(bad)} pictures of the class folder '{folder}' can be used; the first is "
        f"'{bad[0][0].name}': {bad[0][1]}."
    )


def files_under(folder: Path, twice: list[Path]) -> Iterator[Path]:
    """All files of `folder` and its sub-folders, linked ones too, but hidden ones.

    A linked folder that leads back into what was read already is not entered again but added to `twice`.
    """
    seen = {folder.resolve()}
    for current, folders, names in os.walk(folder, followlinks=True):
        enter = []
        for name in sorted(folders):
            path = Path(current, name)
            if name.startswith("."):
                continue
            if (real := path.resolve()) in seen:
                twice.append(path)
                continue
            seen.add(real)
            enter.append(name)
        folders[:] = enter
        yield from (Path(current, name) for name in names if not name.startswith("."))


def by_name(paths: Iterable[Path]) -> list[Path]:
    """The same order everywhere, so that labels mean the same: Windows' own paths compare without regard to case."""
    return sorted(paths, key=lambda path: path.parts)


USABLE, NO_PICTURE = "", "not a picture"
PICTURE_ENDINGS = frozenset(
    ".png .jpg .jpeg .jfif .jpe .webp .bmp .tif .tiff .gif .avif .jp2 .ppm .pgm .pbm .heic .heif".split()
)


def check_picture(path: Path, size: int) -> str:
    """USABLE, NO_PICTURE, or what is wrong with the picture. Reads it whole: a cut-off file opens like a good one."""
    if not path.is_file():
        return "it can't be read (it is neither a file nor a link to one)"
    try:
        width, height = read_upright(path).size
    except UnidentifiedImageError:
        # A name can promise a picture that the file isn't: that is a fault to be told of by name.
        return "it isn't a picture that can be read" if path.suffix.lower() in PICTURE_ENDINGS else NO_PICTURE
    # Pillow's readers raise nearly anything on damaged files.
    except Exception as error:
        return f"it can't be read ({error})"
    if min(width, height) < size:
        return f"it has {width}×{height} pixels, less than the training's {size}×{size}; a smaller --size would take it"
    return USABLE


def read_square(path: Path, size: int) -> np.ndarray:
    """uint8 [size, size, 3]. Raises OSError, with its name, for a file that can't be read any more."""
    try:
        return np.array(ImageOps.fit(read_upright(path), (size, size), Image.Resampling.LANCZOS))
    # Pillow's readers raise nearly anything on damaged files.
    except Exception as error:
        raise OSError(
            f"'{path}' was a good picture when the training began and can't be read any more ({error}). Put it back, "
            "then continue with --resume."
        ) from error


def read_upright(path: Path) -> Image.Image:
    """The picture in RGB, turned as its camera says, on white where it is transparent."""
    with Image.open(path, formats=FORMATS) as image:
        return upright(image)
