"""Finding out what a file of weights is, from its keys and shapes, and what in it doesn't fit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from ..models.llamagen import LlamaGenConfig, LlamaGenTokenizer
from ..models.maskgit import MaskGITConfig, MaskGITTokenizer
from ..models.randar import RandAR, RandARConfig
from ..models.rar import RAR, RARConfig
from .releases import RELEASES, Release, find_release
from .weights import Checkpoint, CheckpointError

Shapes = dict[str, tuple[int, ...]]

BUNDLE_VERSION = 1  # metadata key "randar" of our own files
SHOWN = 4  # keys that an error names before it only counts


@dataclass(frozen=True)
class Family:
    """A kind of network: `network(config, device=, dtype=, operations=)` builds it.

    `marks` are keys that no other family has; `leftovers` are keys that its files may carry and the network doesn't
    need.
    """

    name: str
    part: Literal["decoder", "tokenizer"]
    network: type[nn.Module]
    config: type
    marks: frozenset[str]
    leftovers: frozenset[str] = frozenset()

    def shapes(self, config) -> Shapes:
        """Every key and shape of the network of that configuration; nothing is allocated."""
        return {key: tuple(value.shape) for key, value in self.network(config, device="meta").state_dict().items()}


FAMILIES = (
    Family(
        "randar",
        "decoder",
        RandAR,
        RandARConfig,
        frozenset({"pos_instruct_embeddings", "cls_embedding.embedding_table.weight", "tok_embeddings.weight"}),
    ),
    Family(
        "rar",
        "decoder",
        RAR,
        RARConfig,
        frozenset({"target_aware_pos_embed", "timesteps_embeddings", "adaln_before_head.adaLN_modulation.1.weight"}),
    ),
    Family(
        "llamagen",
        "tokenizer",
        LlamaGenTokenizer,
        LlamaGenConfig,
        frozenset({"quant_conv.weight", "post_quant_conv.weight", "encoder.conv_blocks.0.res.0.conv1.weight"}),
        LlamaGenTokenizer.LEFTOVERS,
    ),
    Family(
        "maskgit",
        "tokenizer",
        MaskGITTokenizer,
        MaskGITConfig,
        frozenset({"encoder.down.0.block.0.conv1.weight", "decoder.up.0.block.0.conv1.weight"}),
        MaskGITTokenizer.LEFTOVERS,
    ),
)


@dataclass(frozen=True)
class Misfit:
    """How the keys of a part differ from its configuration's: shapes by key, `misshapen` as (found, expected)."""

    missing: Shapes = field(default_factory=dict)
    unexpected: Shapes = field(default_factory=dict)
    misshapen: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.misshapen)

    def __str__(self) -> str:
        wrong = [f"{key} is {list(found)}, expected {list(shape)}" for key, (found, shape) in self.misshapen.items()]
        lists = {
            "missing": [f"{key} {list(shape)}" for key, shape in self.missing.items()],
            "unexpected": [f"{key} {list(shape)}" for key, shape in self.unexpected.items()],
            "of another shape": wrong,
        }
        return "; ".join(f"{word}: {_first(keys)}" for word, keys in lists.items() if keys)


@dataclass(frozen=True)
class Part:
    """One network in a file. `tensors` are the file's, by the network's own keys; `release` is None for any other."""

    path: Path
    family: Family
    config: RandARConfig | RARConfig | LlamaGenConfig | MaskGITConfig
    tensors: dict[str, Tensor]
    misfit: Misfit
    release: Release | None = None

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
class Contents:
    """What a file holds. `facts` is the metadata of a bundle: `name`, `class_names`, `defaults`; empty elsewhere."""

    path: Path
    decoder: Part | None
    tokenizer: Part | None
    facts: Mapping[str, object]

    @property
    def parts(self) -> list[Part]:
        return [part for part in (self.decoder, self.tokenizer) if part]


def recognise(checkpoint: Checkpoint) -> Contents:
    """What `checkpoint` holds: a bundle of ours, a released file, or one with its configuration in its metadata.

    Reads keys, shapes and metadata, no weights. A part whose keys or shapes don't fit is returned with its `misfit`.
    Raises CheckpointError for a file that is none of these.
    """
    if "randar" in checkpoint.metadata:
        return _bundle(checkpoint)
    family = _family(checkpoint)
    tensors = {key: tensor for key, tensor in checkpoint.tensors.items() if key not in family.leftovers}
    if "config" in checkpoint.metadata:
        part = _configured(checkpoint, family, _json(checkpoint, "config"), tensors)
    else:
        part = _released(checkpoint, family, tensors)
    decoder, tokenizer = (part, None) if family.part == "decoder" else (None, part)
    return Contents(checkpoint.path, decoder, tokenizer, {})


def fitting_tokenizers(decoder: Part) -> list[Release]:
    """The released tokenizers that a decoder may belong to: its own for a release, else all of its codebook size."""
    if decoder.release:
        return [find_release(decoder.release.tokenizer)]
    size = decoder.config.codebook_size
    return [release for release in RELEASES if release.tokenizer is None and release.config["codebook_size"] == size]


def _family(checkpoint: Checkpoint) -> Family:
    keys = checkpoint.tensors.keys()
    found = [family for family in FAMILIES if keys & family.marks]
    if not found:
        begin = f"Its keys begin with {', '.join(list(keys)[:SHOWN])}" if keys else "It holds no tensor"
        known = ", ".join(family.name for family in FAMILIES)
        raise CheckpointError(f"'{checkpoint.path}' is none of the models known here ({known}). {begin}.")
    if len(found) > 1:
        named = " and ".join(f"{family.name} ({', '.join(sorted(keys & family.marks))})" for family in found)
        raise CheckpointError(
            f"'{checkpoint.path}' mixes the keys of {named}. Expected one network a file, or a bundle that "
            "`randar convert` wrote."
        )
    return found[0]


def _released(checkpoint: Checkpoint, family: Family, tensors: dict[str, Tensor]) -> Part:
    """The release that shares most keys and shapes with the file; its misfit says what differs."""
    parts = []
    for release in RELEASES:
        if release.family == family.name:
            config = family.config(**release.config)
            misfit = _misfit(tensors, family.shapes(config))
            parts.append(Part(checkpoint.path, family, config, tensors, misfit, release))
    best = min(parts, key=lambda part: _differences(part.misfit))
    if _differences(best.misfit) > len(tensors):
        sizes = ", ".join(f"{key} {list(tensors[key].shape)}" for key in sorted(family.marks & tensors.keys()))
        names = ", ".join(part.release.name for part in parts)
        raise CheckpointError(
            f"'{checkpoint.path}' is a {family.name} {family.part} of no released size ({sizes}; known: {names}). "
            "What shapes don't tell must come with it: save it with `save_bundle`, or give it metadata 'config', "
            f"a JSON object with the fields of {family.config.__name__}."
        )
    return best


def _misfit(tensors: Mapping[str, Tensor], expected: Shapes) -> Misfit:
    found = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    return Misfit(
        {key: shape for key, shape in expected.items() if key not in found},
        {key: shape for key, shape in found.items() if key not in expected},
        {key: (found[key], shape) for key, shape in expected.items() if found.get(key, shape) != shape},
    )


def _differences(misfit: Misfit) -> int:
    return len(misfit.missing) + len(misfit.unexpected) + 2 * len(misfit.misshapen)


def _bundle(checkpoint: Checkpoint) -> Contents:
    version = checkpoint.metadata["randar"]
    if version != str(BUNDLE_VERSION):
        raise CheckpointError(
            f"'{checkpoint.path}' is a bundle of format {version}; this version reads format {BUNDLE_VERSION}. "
            "Update this package."
        )
    facts = _json(checkpoint, "facts")
    parts = {word: _bundled(checkpoint, word) for word in ("decoder", "tokenizer") if word in checkpoint.metadata}
    strangers = [key for key in checkpoint.tensors if key.partition(".")[0] not in parts]
    if strangers or not parts:
        raise CheckpointError(
            f"'{checkpoint.path}' is a bundle of {' and '.join(parts) or 'nothing'}, but holds {_first(strangers)}."
        )
    return Contents(checkpoint.path, parts.get("decoder"), parts.get("tokenizer"), facts)


def _bundled(checkpoint: Checkpoint, word: str) -> Part:
    described = _json(checkpoint, word)
    family = next((f for f in FAMILIES if f.part == word and f.name == described.get("family")), None)
    if family is None:
        known = ", ".join(family.name for family in FAMILIES if family.part == word)
        raise CheckpointError(
            f"'{checkpoint.path}' is a bundle with a {word} of family {described.get('family')!r}; known: {known}."
        )
    prefix = f"{word}."
    tensors = {key[len(prefix) :]: tensor for key, tensor in checkpoint.tensors.items() if key.startswith(prefix)}
    return _configured(checkpoint, family, described.get("config"), tensors)


def _configured(checkpoint: Checkpoint, family: Family, fields: object, tensors: dict[str, Tensor]) -> Part:
    try:
        config = family.config(**_numbers(fields, len(tensors)))
        return Part(checkpoint.path, family, config, tensors, _misfit(tensors, family.shapes(config)))
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise CheckpointError(
            f"The configuration in '{checkpoint.path}' makes no {family.config.__name__}: {error}. Found {fields!r}."
        ) from error


def _numbers(fields: object, tensors: int) -> dict[str, object]:
    """`fields` of a configuration. ValueError where one is no number from 1 (a margin from 0) and no list of them.

    Nor can a network have more layers, blocks or levels than the file has tensors: it would take hours to find out.
    """
    if not isinstance(fields, dict):
        raise ValueError("a configuration is a JSON object")
    for name, value in fields.items():
        numbers = value if isinstance(value, list) else [] if value is None else [value]
        if not all(type(number) is int and number >= (name != "margin") for number in numbers):
            raise ValueError(f"{name} is {value!r}")
        many = len(numbers) if isinstance(value, list) else value if name in ("layers", "res_blocks") else 0
        if many > tensors:
            raise ValueError(f"{name} says {many}, more than the {tensors} tensors in the file")
    return fields


def _json(checkpoint: Checkpoint, key: str) -> dict:
    text = checkpoint.metadata.get(key, "")
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise CheckpointError(f"The metadata '{key}' of '{checkpoint.path}' is no JSON: {error}.") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"The metadata '{key}' of '{checkpoint.path}' is {text[:40]}; expected a JSON object.")
    return value


def _first(keys: list[str]) -> str:
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return ", ".join(keys[:SHOWN]) + more
