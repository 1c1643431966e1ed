"""Which tokenizer belongs to a transformer, and where it is found."""

from collections.abc import Iterable
from pathlib import Path

from .bundle import other_codebook
from .detect import Detected, Network, detect
from .families import family_of
from .releases import RELEASES, Release, find_release
from .weights import CheckpointError, first_of, read_weights


def fitting_releases(transformer: Network) -> list[Release]:
    """Released tokenizers that a transformer may belong to: a release's own, or all of its codebook size."""
    if transformer.release:
        return [find_release(transformer.release.tokenizer)]
    size = transformer.config.codebook_size
    return [release for release in RELEASES if release.tokenizer is None and release.config.codebook_size == size]


def check_pair(transformer: Network, tokenizer: Network) -> None:
    """Raises CheckpointError unless the tokenizer has the codebook that the transformer draws from."""
    release = transformer.release and find_release(transformer.release.tokenizer)
    if release and tokenizer.family is not family_of(release.config):
        raise CheckpointError(
            f"{transformer.release.name} was trained with a {family_of(release.config).name} tokenizer, not with "
            f"{tokenizer.family.name} ('{tokenizer.path}'). {tokenizer_hint(transformer)}"
        )
    if transformer.config.codebook_size != tokenizer.config.codebook_size:
        raise CheckpointError(
            f"{other_codebook(transformer.config.codebook_size, tokenizer.config.codebook_size)} "
            f"{tokenizer_hint(transformer)}"
        )
    if release and tokenizer.path.stem in {Path(name).stem for name in release.lookalikes}:
        raise CheckpointError(
            f"'{tokenizer.path}' has the shapes of {release.name} but another codebook, by its name. "
            f"{tokenizer_hint(transformer)}"
        )


def fits(transformer: Network, tokenizer: Network) -> bool:
    try:
        check_pair(transformer, tokenizer)
    except CheckpointError:
        return False
    return True


def tokenizer_hint(transformer: Network) -> str:
    """Which file to get for a transformer, as a sentence."""
    fitting = fitting_releases(transformer)
    if not fitting:
        return f"Give the tokenizer that it was trained with, of {transformer.config.codebook_size} codes."
    files = " or ".join(f"{r.file} (to be downloaded as {r.name}, from {r.repo})" for r in fitting)
    return f"Give it the tokenizer {files}."


def transformer_of(detected: Detected) -> Network:
    """The transformer in a file. Raises CheckpointError for a tokenizer alone."""
    if detected.transformer is None:
        raise CheckpointError(
            f"'{detected.path}' is a {detected.tokenizer.family.name} tokenizer without a transformer. Give the file "
            "of the model here; its tokenizer is found automatically."
        )
    return detected.transformer


def tokenizer_of(detected: Detected) -> Network:
    """The tokenizer in a file. Raises CheckpointError for a transformer alone."""
    if detected.tokenizer is None:
        raise CheckpointError(
            f"'{detected.path}' is a {detected.transformer.family.name} transformer without a tokenizer. Expected a "
            f"tokenizer or a bundle. {tokenizer_hint(detected.transformer)}"
        )
    return detected.tokenizer


def find_tokenizer(transformer: Network, files: Iterable[Path]) -> Network:
    """The tokenizer for a transformer that has none in its file.

    It is the first of `files` with the name of a released tokenizer that fits, or the only one that holds a tokenizer
    of the same codebook size. Files that can't be read are passed over. Raises CheckpointError where there is none or
    more than one, naming what to fetch.
    """
    files = [path for path in files if path != transformer.path]
    names = {Path(release.file).stem for release in fitting_releases(transformer)}
    for path in files:
        if path.stem in names:
            return tokenizer_of(detect(read_weights(path)))
    found, unreadable = [], []
    for path in files:
        try:
            tokenizer = detect(read_weights(path)).tokenizer
        except (CheckpointError, OSError):
            unreadable.append(path.name)
            continue
        if tokenizer is not None and fits(transformer, tokenizer):
            found.append(tokenizer)
    if len(found) == 1:
        return found[0]
    choose = "Name one of them as the tokenizer (`--tokenizer`, in Load Model `tokenizer`)"
    if found:
        several = first_of(network.path.name for network in found)
        raise CheckpointError(f"Several tokenizers fit '{transformer.path}': {several}. {choose}.")
    remedy = "Name the tokenizer that it was trained with."
    if releases := fitting_releases(transformer):
        files = " or ".join(f"{r.file} ({r.name}, from huggingface.co/{r.repo})" for r in releases)
        remedy = f"Put {files} next to it, or fetch it with `randar download` or the node Download RandAR Model."
    if unreadable:
        remedy += f" These files can't be read: {first_of(unreadable)}. {choose} to see why."
    raise CheckpointError(
        f"'{transformer.path}' holds a transformer without a tokenizer, and no tokenizer that fits it was found. "
        f"{remedy}"
    )
