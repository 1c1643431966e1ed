"""Where the files of a model lie: the built-in bundle, downloaded releases, or paths."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from .detect import Contents, fitting_tokenizers, recognise
from .download import downloads_folder
from .releases import find_release
from .weights import CheckpointError, read

BUILTIN = Path(__file__).parents[1] / "builtin.safetensors"


def locate(name_or_file: str | Path) -> Path:
    """The file of 'builtin', of a downloaded release, or the path given.

    Raises FileNotFoundError where it isn't there, ValueError for a name that is neither file nor release.
    """
    if str(name_or_file) == "builtin":
        return _existing(BUILTIN, "This copy of the package holds no built-in model.")
    path = Path(name_or_file).expanduser()
    if path.is_file() or path.suffix:
        return _existing(path, "")
    release = find_release(str(name_or_file))
    if release.file is None:
        raise FileNotFoundError(f"{release.name} was never released by its authors.")
    return _existing(downloads_folder() / release.file, f"Fetch it with `randar download {release.name}`.")


def locate_model(decoder: str | Path, tokenizer: str | Path | None = None) -> tuple[Path, Path | None]:
    """The file of a decoder or bundle, and that of its tokenizer: the one given, else None for a bundle, which has its
    own, else the fitting release beside the decoder or among the downloads. Raises as `locate` does, and
    CheckpointError where no fitting tokenizer is found.
    """
    path = locate(decoder)
    if tokenizer is not None:
        return path, locate(tokenizer)
    contents = recognise(read(path))
    if contents.tokenizer is not None or contents.decoder is None:
        return path, None
    return path, find_tokenizer(contents, (path.parent, downloads_folder()))


def find_tokenizer(contents: Contents, folders: Iterable[Path]) -> Path:
    """The released tokenizer that fits the decoder in `contents`, from the first of `folders` that holds it.

    Raises CheckpointError where none does, naming what to fetch.
    """
    fitting = fitting_tokenizers(contents.decoder)
    for folder in folders:
        for release in fitting:
            if (folder / release.file).is_file():
                return folder / release.file
    wanted = " or ".join(f"{release.file} (`randar download {release.name}`)" for release in fitting)
    raise CheckpointError(
        f"'{contents.path}' holds a decoder alone and its tokenizer isn't there. "
        + (f"Put beside it {wanted}." if wanted else "Name the tokenizer it was trained with.")
    )


def _existing(path: Path, remedy: str) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"There is no file '{path}'. {remedy}".rstrip())
    return path
