"""Detecting what a file of weights is, from its keys and shapes, and what in it doesn't fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..models.arpg import ARPGConfig
from ..models.llamagen import LlamaGenConfig
from ..models.lpd import LPDConfig
from ..models.maskgit import MaskGITConfig
from ..models.patches import PatchConfig
from ..models.randar import RandARConfig
from ..models.rar import RARConfig
from .bundle import is_bundle, read_bundle
from .families import FAMILIES, Family, Shapes, family_of
from .releases import RELEASES, Release
from .weights import Checkpoint, CheckpointError, FileVersion, first_of


@dataclass(frozen=True)
class ShapeMismatch:
    """How the keys of a network differ from those of its configuration.

    missing, unexpected: shapes by key.
    different: (found, expected) by key.
    """

    missing: Shapes = field(default_factory=dict)
    unexpected: Shapes = field(default_factory=dict)
    different: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], expected: Shapes) -> ShapeMismatch:
        found = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
        return cls(
            {key: shape for key, shape in expected.items() if key not in found},
            {key: shape for key, shape in found.items() if key not in expected},
            {key: (found[key], shape) for key, shape in expected.items() if found.get(key, shape) != shape},
        )

    @property
    def size(self) -> int:
        return len(self.missing) + len(self.unexpected) + 2 * len(self.different)

    def __bool__(self) -> bool:
        return self.size > 0

    def __str__(self) -> str:
        lists = {
            "missing": [f"{key} {list(shape)}" for key, shape in self.missing.items()],
            "unexpected": [f"{key} {list(shape)}" for key, shape in self.unexpected.items()],
            "of another shape": [
                f"{key} is {list(found)}, expected {list(shape)}" for key, (found, shape) in self.different.items()
            ],
        }
        return "; ".join(f"{word}: {first_of(keys)}" for word, keys in lists.items() if keys)


@dataclass(frozen=True)
class Network:
    """One network in a file; nothing is built yet.

    path: the file.
    family: which class builds it.
    config: its configuration.
    tensors: its weights by the network's own keys.
    mismatch: what in the file doesn't fit the configuration.
    versions: of the files that the weights come from.
    release: the release that has its keys and shapes; None for a network that brings its configuration.
    """

    path: Path
    family: Family
    config: RandARConfig | RARConfig | LPDConfig | ARPGConfig | LlamaGenConfig | MaskGITConfig | PatchConfig
    tensors: dict[str, Tensor]
    mismatch: ShapeMismatch
    versions: tuple[FileVersion, ...] = ()
    release: Release | None = None

    @property
    def is_release(self) -> bool:
        """Whether it has the name of its release too. Shapes alone don't say which weights a file holds."""
        return bool(self.release and self.release.file and self.path.stem == Path(self.release.file).stem)

    @property
    def title(self) -> str:
        """Family and release, as far as they are known."""
        if not self.release:
            return self.family.name
        if self.is_release:
            return f"{self.family.name}, release {self.release.name}"
        others = "".join(f", such as {name}" for name in self.release.lookalikes)
        return (
            f"{self.family.name} of the size of {self.release.name} (shapes don't tell it from other weights{others})"
        )

    @property
    def parameters(self) -> int:
        return sum(tensor.numel() for tensor in self.tensors.values())

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that holds most of the weights."""
        sizes: dict[torch.dtype, int] = {}
        for tensor in self.tensors.values():
            sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.numel()
        return max(sizes, key=sizes.__getitem__)


@dataclass(frozen=True)
class Detected:
    """What a file holds.

    path: the file.
    transformer, tokenizer: its networks.
    metadata: of a bundle `name`, `class_names` and `defaults`; empty for other files.
    wrapper: where in a training checkpoint the weights were; empty where they were at the top.
    """

    path: Path
    transformer: Network | None
    tokenizer: Network | None
    metadata: Mapping[str, object]
    wrapper: str = ""

    @property
    def networks(self) -> list[Network]:
        return [network for network in (self.transformer, self.tokenizer) if network]


def detect(checkpoint: Checkpoint) -> Detected:
    """What `checkpoint` holds: a bundle, a released file, or a network with its configuration in its metadata.

    Looks at keys, shapes and metadata, not at weights. A network whose keys or shapes don't fit is returned with its
    `mismatch`. Raises CheckpointError for a file that is none of these.
    """
    metadata: Mapping[str, object] = {}
    if is_bundle(checkpoint):
        described, metadata = read_bundle(checkpoint)
        networks = {
            role: configured(checkpoint, network.family, network.fields, network.tensors)
            for role, network in described.items()
        }
    else:
        family = detect_family(checkpoint)
        tensors = {key: tensor for key, tensor in checkpoint.tensors.items() if key not in family.ignored_keys}
        if "config" in checkpoint.metadata:
            networks = {family.role: configured(checkpoint, family, checkpoint.json("config"), tensors)}
        else:
            networks = {family.role: nearest_release(checkpoint, family, tensors)}
    return Detected(
        checkpoint.path, networks.get("transformer"), networks.get("tokenizer"), metadata, checkpoint.wrapper
    )


def detect_family(checkpoint: Checkpoint) -> Family:
    keys = checkpoint.tensors.keys()
    found = [family for family in FAMILIES if keys & family.signature]
    if not found:
        begin = f"Its keys begin with {first_of(keys)}" if keys else "It holds no tensors"
        known = ", ".join(family.name for family in FAMILIES)
        raise CheckpointError(f"'{checkpoint.path}' is not one of the models known here ({known}). {begin}.")
    if len(found) > 1:
        named = " and ".join(f"{family.name} ({', '.join(sorted(keys & family.signature))})" for family in found)
        raise CheckpointError(
            f"'{checkpoint.path}' mixes the keys of {named}. Expected a file with one network, or a bundle that "
            "`randar convert` wrote."
        )
    return found[0]


def nearest_release(checkpoint: Checkpoint, family: Family, tensors: dict[str, Tensor]) -> Network:
    """The network with the release that shares most keys and shapes with the file; `mismatch` says what differs."""
    networks = [
        Network(
            checkpoint.path,
            family,
            release.config,
            tensors,
            ShapeMismatch.of(tensors, family.shapes(release.config)),
            checkpoint.versions,
            release,
        )
        for release in RELEASES
        if family_of(release.config) is family
    ]
    best = min(networks, key=lambda network: network.mismatch.size, default=None)
    if best is None or best.mismatch.size > len(tensors):
        sizes = ", ".join(f"{key} {list(tensors[key].shape)}" for key in sorted(family.signature & tensors.keys()))
        names = ", ".join(network.release.name for network in networks) or "none"
        raise CheckpointError(
            f"'{checkpoint.path}' is a {family.name} {family.role} of a size that was not released ({sizes}; known: "
            f"{names}). Shapes don't tell its whole configuration: save it with `save_bundle`, or add metadata "
            f"'config', a JSON object with the fields of {family.config.__name__}."
        )
    return best


def configured(checkpoint: Checkpoint, family: Family, fields: object, tensors: dict[str, Tensor]) -> Network:
    """The network with the configuration that its file gives."""
    try:
        config = family.config(**checked_fields(fields, len(tensors)))
        mismatch = ShapeMismatch.of(tensors, family.shapes(config))
        return Network(checkpoint.path, family, config, tensors, mismatch, checkpoint.versions)
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise CheckpointError(
            f"The configuration in '{checkpoint.path}' is not a valid {family.config.__name__}: {error}. "
            f"Found {str(fields)[:200]}."
        ) from error


def checked_fields(fields: object, tensors: int) -> dict[str, object]:
    """`fields` of a configuration.

    Raises ValueError where one is not a whole number from 1 (a margin from 0) or a list of them, and where it says more
    layers, blocks or levels than the file has tensors: it would take hours to find out.
    """
    if not isinstance(fields, dict):
        raise ValueError("a configuration is a JSON object")
    for name, value in fields.items():
        numbers = value if isinstance(value, list) else [] if value is None else [value]
        if not all(type(number) is int and number >= (name != "margin") for number in numbers):
            raise ValueError(f"{name} is {str(value)[:40]!r}" if isinstance(value, str) else f"{name} is {value}")
        many = sum(numbers) if name in ("layers", "res_blocks") else len(numbers) if isinstance(value, list) else 0
        if many > tensors:
            raise ValueError(f"{name} says {many}, more than the {tensors} tensors in the file")
    return fields
