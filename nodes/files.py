"""Where model files lie in ComfyUI: the folder `models/randar`, and any that `extra_model_paths.yaml` adds to it."""

from pathlib import Path

import folder_paths

from ..randar_core.checkpoints.bundle import check_pair
from ..randar_core.checkpoints.detect import Contents, Part, fitting_tokenizers, recognise
from ..randar_core.checkpoints.locate import BUILTIN
from ..randar_core.checkpoints.releases import RELEASES
from ..randar_core.checkpoints.weights import CheckpointError, read

FOLDER = "randar"
BUILTIN_NAME = "built-in"
AUTO = "auto"


def register_folder() -> None:
    """Make `models/randar` known. Folders that the user has given for it before stay."""
    folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.models_dir) / FOLDER))
    # A new key lists every file there is.
    folder_paths.folder_names_and_paths[FOLDER][1].update({".safetensors", ".sft", ".bin", ".pt", ".pth", ".ckpt"})


def model_names() -> list[str]:
    """What can be chosen as a model: the built-in one and every file that isn't a released tokenizer by its name."""
    tokenizers = {release.file for release in RELEASES if release.tokenizer is None}
    return [BUILTIN_NAME, *(name for name in file_names() if Path(name).name not in tokenizers)]


def file_names() -> list[str]:
    return folder_paths.get_filename_list(FOLDER)


def path_of(name: str) -> Path:
    """The file of the built-in model or of a name in the list. Raises FileNotFoundError where it has gone."""
    if name == BUILTIN_NAME:
        return BUILTIN
    return Path(folder_paths.get_full_path_or_raise(FOLDER, name))


def files_of(name: str, tokenizer: str) -> list[Path]:
    """The files that a model of this name may be made of: its own, and those that its tokenizer is looked for in.

    One that has gone is not among them.
    """
    names = {name}
    if tokenizer != AUTO:
        names.add(tokenizer)
    elif not brings_tokenizer(name):
        names.update(file_names())
    found = []
    for each in sorted(names):
        try:
            found.append(path_of(each))
        except FileNotFoundError:  # such as a link to nowhere; loading says what is missing
            continue
    return found


def brings_tokenizer(name: str) -> bool:
    """Whether the file is a bundle. One that can't be read is none: loading says what is wrong with it."""
    try:
        return recognise(read(path_of(name))).tokenizer is not None
    except (CheckpointError, FileNotFoundError):
        return False


def tokenizer_path(contents: Contents, choice: str) -> Path | None:
    """The tokenizer's file for a decoder: the one chosen, or found by itself; None for a bundle, which has its own.

    Found is the released one by its file name, else the only file in the folder that holds a tokenizer of the decoder's
    codebook. Raises CheckpointError where there is none or more than one.
    """
    if choice != AUTO:
        return path_of(choice)
    if contents.tokenizer is not None or contents.decoder is None:
        return None
    released = fitting_tokenizers(contents.decoder)
    wanted = {release.file for release in released}
    named = [name for name in file_names() if Path(name).name in wanted]
    found, unreadable = named, []
    if not named:
        found, unreadable = search_tokenizers(contents)
    if len(found) == 1:
        return path_of(found[0])
    if found:
        raise CheckpointError(
            f"Several tokenizers fit this decoder: {', '.join(found)}. Choose one as `tokenizer` in Load Model."
        )
    files = " or ".join(f"{release.file} (from huggingface.co/{release.repo})" for release in released)
    remedy = "Put the one that it was trained with there."
    if files:
        remedy = f"Put {files} there, or fetch it with Download RandAR Model."
    if unreadable:
        remedy += f" Unreadable: {', '.join(unreadable)}. Choose one as `tokenizer` to see what is wrong with it."
    raise CheckpointError(
        f"'{contents.path.name}' holds a decoder alone, and no tokenizer that fits it is in models/{FOLDER}. {remedy}"
    )


def search_tokenizers(contents: Contents) -> tuple[list[str], list[str]]:
    """Names of the files that hold a tokenizer of the decoder's codebook, and of those that can't be read."""
    found, unreadable = [], []
    for name in file_names():
        try:
            path = path_of(name)
            other = None if path == contents.path else recognise(read(path)).tokenizer
        except (CheckpointError, FileNotFoundError):
            unreadable.append(name)
            continue
        if other is not None and fits(contents.decoder, other):
            found.append(name)
    return found, unreadable


def fits(decoder: Part, tokenizer: Part) -> bool:
    try:
        check_pair(decoder, tokenizer)
    except CheckpointError:
        return False
    return True
