"""Where model files are in ComfyUI: the folder `models/randar`, and any that `extra_model_paths.yaml` adds to it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import folder_paths

from ..randar_core.checkpoints.bundle import holds_tokenizer
from ..randar_core.checkpoints.locate import BUILTIN, WEIGHT_SUFFIXES
from ..randar_core.checkpoints.releases import RELEASES
from ..randar_core.checkpoints.weights import FileVersion

FOLDER = "randar"
BUILTIN_NAME = "built-in"
AUTO = "auto"


def register_folder() -> None:
    """Make `models/randar` known. Folders that the user has given for it before stay."""
    folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.models_dir) / FOLDER))
    # A new key lists every file there is.
    folder_paths.folder_names_and_paths[FOLDER][1].update(WEIGHT_SUFFIXES)


def model_names() -> list[str]:
    """What can be chosen as a model: the built-in one and every file that isn't a released tokenizer by its name."""
    tokenizers = {release.file for release in RELEASES if release.tokenizer is None}
    return [BUILTIN_NAME, *(name for name in file_names() if Path(name).name not in tokenizers)]


def file_names() -> list[str]:
    return folder_paths.get_filename_list(FOLDER)


def path_of(name: str) -> Path:
    """The file of the built-in model or of a name in the list. Raises FileNotFoundError where it doesn't exist."""
    if name == BUILTIN_NAME:
        return BUILTIN
    return Path(folder_paths.get_full_path_or_raise(FOLDER, name))


def existing_paths(names: list[str]) -> Iterator[Path]:
    """The files of these names, without those that don't exist, such as links to nowhere."""
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            yield path_of(name)


def versions_of(name: str, tokenizer: str) -> list[FileVersion]:
    """Versions of the files that a model may be made of: its own, and those in which its tokenizer is looked for."""
    names = {name}
    if tokenizer != AUTO:
        names.add(tokenizer)
    elif not any(map(holds_tokenizer, existing_paths([name]))):
        names.update(file_names())
    versions = []
    for path in existing_paths(sorted(names)):
        with contextlib.suppress(OSError):  # gone meanwhile, or of another user; loading says so where it matters
            versions.append(FileVersion.of(path))
    return versions
