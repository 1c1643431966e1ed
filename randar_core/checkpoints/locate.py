"""Where the files of a model are: the built-in bundle, downloaded releases, or paths."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from .download import downloads_folder
from .releases import find_release

BUILTIN = Path(__file__).parents[1] / "builtin.safetensors"
WEIGHT_SUFFIXES = frozenset({".safetensors", ".sft", ".bin", ".pt", ".pth", ".ckpt"})


def locate(name_or_file: str | Path) -> Path:
    """The file of 'builtin', of a downloaded release, or the path that is given. A folder is returned as it is.

    Raises FileNotFoundError where it doesn't exist, ValueError for a name that is neither a file nor a release.
    """
    if str(name_or_file) == "builtin":
        return existing(BUILTIN, "This copy of the package holds no built-in model.")
    path = Path(name_or_file).expanduser()
    if path.is_file() or path.suffix:
        return existing(path, "")
    try:
        release = find_release(str(name_or_file))
    except ValueError:
        if path.is_dir():
            return path
        raise
    if release.file is None:
        raise FileNotFoundError(f"{release.name} was never released by its authors.")
    return existing(downloads_folder() / release.file, f"Fetch it with `randar download {release.name}`.")


def existing(path: Path, remedy: str) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"There is no file '{path}'. {remedy}".rstrip())
    return path


def weight_files(folders: Iterable[Path]) -> Iterator[Path]:
    """The files in `folders` that may hold weights, by their suffix. A folder that can't be read has none."""
    for folder in folders:
        try:
            yield from sorted(path for path in folder.iterdir() if path.suffix.lower() in WEIGHT_SUFFIXES)
        except OSError:  # it may not exist yet
            continue
