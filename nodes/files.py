"""Where model files lie in ComfyUI: the folder `models/randar`, and any that `extra_model_paths.yaml` adds to it."""

from pathlib import Path

import folder_paths

from ..randar_core.checkpoints.bundle import check_pair
from ..randar_core.checkpoints.locate import BUILTIN
from ..randar_core.checkpoints.reading import CheckpointError, read
from ..randar_core.checkpoints.recognise import Contents, fitting_tokenizers, recognise
from ..randar_core.checkpoints.releases import RELEASES

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
    found = named or [name for name in file_names() if holds_tokenizer_for(contents, path_of(name))]
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
    raise CheckpointError(
        f"'{contents.path.name}' holds a decoder alone, and no tokenizer that fits it is in models/{FOLDER}. {remedy}"
    )


def holds_tokenizer_for(contents: Contents, path: Path) -> bool:
    """Whether the file holds a tokenizer of the decoder's codebook. A file that can't be read holds none."""
    if path == contents.path:
        return False
    try:
        found = recognise(read(path))
        if found.tokenizer is not None:
            check_pair(contents.decoder, found.tokenizer)
    except CheckpointError:
        return False
    return found.tokenizer is not None
