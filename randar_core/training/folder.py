"""A folder of pictures with one sub-folder a class."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from torch.utils.data import Dataset

from ..io.images import FORMATS, upright

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"})


@dataclass(frozen=True)
class Folder(Dataset):
    """`folder[i]` is (uint8 [size, size, 3], label): the shorter side scaled to `size`, the middle cut out.

    `skipped` tells of every file that can't be used, by name and reason.
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[tuple[Path, int], ...]
    skipped: tuple[str, ...]
    size: int

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        path, label = self.files[index]
        return read_square(path, self.size), label

    def facts(self) -> dict:
        """What must be the same when a training resumes."""
        # Sizes beside names, so that a picture that was replaced is noticed; hashes would take a reading of all.
        files = ((path.relative_to(self.root).as_posix(), path.stat().st_size, label) for path, label in self.files)
        names = "\n".join(f"{name} {size} {label}" for name, size, label in files)
        return {
            "pictures": len(self.files),
            "size": self.size,
            "classes": list(self.classes),
            "files": hashlib.blake2b(names.encode(errors="surrogateescape"), digest_size=8).hexdigest(),
        }


def open_folder(root: Path, size: int, workers: int = 8) -> Folder:
    """Read every picture of `root` once and keep those that can be used.

    Classes and files are in the order of their names; hidden ones and other kinds of files are left out. Raises
    ValueError where there is no folder, no sub-folder, or a class without pictures that can be used.
    """
    if not root.is_dir():
        raise ValueError(f"There is no folder '{root}'. Give one that holds a sub-folder of pictures for each class.")
    folders = by_name(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not folders:
        raise ValueError(
            f"'{root}' has no sub-folders. Put the pictures of each class into a sub-folder with the name of the class."
        )
    files, skipped = [], []
    with ThreadPoolExecutor(workers) as pool:
        for label, folder in enumerate(folders):
            found = by_name(p for p in folder.rglob("*") if p.suffix.lower() in ENDINGS and not hidden(p, folder))
            if not found:
                raise ValueError(
                    f"The class folder '{folder}' holds no pictures. Put some there, or remove the folder."
                )
            faults = list(pool.map(lambda path: fault_of(path, size), found))
            skipped += [f"{path}: {fault}" for path, fault in zip(found, faults, strict=True) if fault]
            good = [(path, label) for path, fault in zip(found, faults, strict=True) if fault is None]
            if not good:
                raise ValueError(
                    f"None of the {len(found)} pictures of the class folder '{folder}' can be used; the first is "
                    f"'{found[0].name}': {faults[0]}."
                )
            files += good
    return Folder(root, tuple(folder.name for folder in folders), tuple(files), tuple(skipped), size)


def by_name(paths: Iterable[Path]) -> list[Path]:
    """The same order everywhere, so that labels mean the same: Windows' own paths compare without regard to case."""
    return sorted(paths, key=lambda path: path.parts)


def fault_of(path: Path, size: int) -> str | None:
    """Why a picture can't be used, None where it can. Reads it whole: a cut-off file opens like a good one."""
    try:
        width, height = read_upright(path).size
    # Pillow's readers raise nearly anything on damaged files.
    except Exception as error:
        return f"it can't be read ({error})"
    if min(width, height) < size:
        return f"it has {width}×{height} pixels, less than the training's {size}×{size}; a smaller --size would take it"
    return None


def read_square(path: Path, size: int) -> np.ndarray:
    """uint8 [size, size, 3]. Raises OSError, with its name, for a file that can't be read any more."""
    try:
        return np.array(ImageOps.fit(read_upright(path), (size, size), Image.Resampling.LANCZOS))
    # Pillow's readers raise nearly anything on damaged files.
    except Exception as error:
        raise OSError(
            f"'{path}' was a good picture when the training began and can't be read any more ({error}). Put it back, "
            "then go on with --resume."
        ) from error


def read_upright(path: Path) -> Image.Image:
    """The picture in RGB, turned as its camera says, on white where it is transparent."""
    with Image.open(path, formats=FORMATS) as image:
        return upright(image)


def hidden(path: Path, root: Path) -> bool:
    """Whether the file or a folder between it and `root` is hidden, as those that editors keep their copies in are."""
    return any(part.startswith(".") for part in path.relative_to(root).parts)
