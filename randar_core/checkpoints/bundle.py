"""The bundle, our own file format: a transformer, a tokenizer or both in one `.safetensors` file.

The transformer's weights have the prefix `decoder.`, the tokenizer's `tokenizer.`. The file's metadata has the version
of the format (`randar`), family and configuration of each network, and `facts`: name, class names and defaults.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..io.atomic import atomic_write
from .families import FAMILIES, Family, family_of
from .releases import Defaults
from .weights import Checkpoint, CheckpointError, first_of

VERSION = 1  # metadata key "randar"
KEYS = {"transformer": "decoder", "tokenizer": "tokenizer"}  # of a network by its role: metadata key and prefix


@dataclass(frozen=True)
class Described:
    """A network as a bundle describes it. `fields` is meant to be the fields of the family's configuration."""

    family: Family
    fields: object
    tensors: dict[str, Tensor]


def is_bundle(checkpoint: Checkpoint) -> bool:
    return "randar" in checkpoint.metadata


def read_bundle(checkpoint: Checkpoint) -> tuple[dict[str, Described], dict[str, object]]:
    """The networks of a bundle by their role, and the metadata: name, class names, defaults.

    Raises CheckpointError for a bundle of another version, of an unknown family, or with tensors of no network.
    """
    version = checkpoint.metadata["randar"]
    if version != str(VERSION):
        raise CheckpointError(
            f"'{checkpoint.path}' is a bundle of format {version}; this version reads format {VERSION}. "
            "Update this package."
        )
    metadata = checkpoint.json("facts")
    networks = {role: describe(checkpoint, role) for role, key in KEYS.items() if key in checkpoint.metadata}
    prefixes = {KEYS[role] for role in networks}
    unknown = [key for key in checkpoint.tensors if key.partition(".")[0] not in prefixes]
    if unknown or not networks:
        raise CheckpointError(
            f"'{checkpoint.path}' is a bundle of {' and '.join(networks) or 'nothing'}, but holds {first_of(unknown)}."
        )
    return networks, metadata


def describe(checkpoint: Checkpoint, role: str) -> Described:
    described, prefix = checkpoint.json(KEYS[role]), f"{KEYS[role]}."
    families = {family.name: family for family in FAMILIES if family.role == role}
    name = described.get("family")
    if not isinstance(name, str) or name not in families:
        raise CheckpointError(
            f"'{checkpoint.path}' is a bundle with a {role} of family {name!r}; known: {', '.join(families)}."
        )
    tensors = {key[len(prefix) :]: value for key, value in checkpoint.tensors.items() if key.startswith(prefix)}
    return Described(families[name], described.get("config"), tensors)


def holds_tokenizer(path: Path) -> bool:
    """Whether the file is a bundle with a tokenizer. Reads its header alone; an unreadable file is not a bundle."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError):
        return False
    return "randar" in metadata and KEYS["tokenizer"] in metadata


def save_bundle(
    path: str | Path,
    transformer: nn.Module | None = None,
    tokenizer: nn.Module | None = None,
    class_names: Sequence[str] | None = None,
    defaults: Defaults | None = None,
    name: str | None = None,
) -> None:
    """Write a bundle of one network or both. The file appears whole or not at all.

    path: the file, `.safetensors`.
    transformer, tokenizer: the networks; their weights are stored in their own dtypes.
    class_names: one for each class of the transformer.
    defaults: how the model draws; None: as its family does, without guidance.
    name: of the model; None: the file's.

    Raises CheckpointError where the two have different codebooks, where the number of names isn't that of the classes,
    and where the file can't be written.
    """
    path = Path(path)
    networks = {"transformer": transformer, "tokenizer": tokenizer}
    networks = {role: network for role, network in networks.items() if network is not None}
    if not networks:
        raise ValueError("A bundle needs a transformer, a tokenizer or both.")
    if len(networks) == 2 and transformer.config.codebook_size != tokenizer.config.codebook_size:
        raise CheckpointError(other_codebook(transformer.config.codebook_size, tokenizer.config.codebook_size))
    metadata: dict = {"name": name or path.stem}
    if class_names is not None:
        if transformer is not None and len(class_names) != transformer.config.classes:
            raise CheckpointError(
                f"{len(class_names)} class names were given for a transformer of {transformer.config.classes} classes."
            )
        metadata["class_names"] = list(class_names)
    if defaults is not None:
        metadata["defaults"] = asdict(defaults)
    header = {"randar": str(VERSION), "format": "pt", "facts": json.dumps(metadata)}
    tensors = {}
    for role, network in networks.items():
        key = KEYS[role]
        header[key] = json.dumps({"family": family_of(network.config).name, "config": asdict(network.config)})
        tensors |= {f"{key}.{name}": value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    try:
        with atomic_write(path) as temporary:
            temporary.touch()
            mode = temporary.stat().st_mode
            save_file(tensors, temporary, header)
            temporary.chmod(mode)  # the safetensors library leaves a file that only its owner may read
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"The bundle '{path}' can't be written: {error}.") from error


def other_codebook(transformer: int, tokenizer: int) -> str:
    """The sentence for two networks of different codebook sizes."""
    return (
        "Transformer and tokenizer don't belong together: the transformer draws from a codebook of "
        f"{transformer} tokens, the tokenizer has {tokenizer}."
    )
