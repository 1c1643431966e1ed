"""Models from files and back: a decoder with its tokenizer, from released files or from one bundle of ours.

A bundle is one `.safetensors` file: the decoder's weights under `decoder.`, the tokenizer's under `tokenizer.`, and in
the metadata the format's version (`randar`), each part's family and configuration, and the `facts`: name, class names,
defaults.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from ..classes import imagenet_classes
from ..decoding.guidance import Guidance, Linear, PowerCosine, class_guidance
from ..decoding.orders import ORDERS
from ..io.atomic import replacing
from .detect import BUNDLE_VERSION, FAMILIES, Contents, Part, fitting_tokenizers, recognise
from .releases import Defaults, find_release
from .weights import CheckpointError, read

# What weights may be stored in. Eight bits are left out: they come with scales of their own.
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


# What a file may say; bytes of another author can say anything.
FITTING_DEFAULTS = {
    "guidance": _is_number,
    "guidance_start": _is_number,
    "guidance_power": lambda value: value is None or (_is_number(value) and value >= 0),
    "temperature": lambda value: _is_number(value) and value > 0,
    "steps": lambda value: type(value) is int and value >= 1,
    "order": lambda value: isinstance(value, str),
    "boundary": lambda value: type(value) is int and value >= 0,
}


@dataclass(frozen=True)
class Model:
    """A decoder with the tokenizer it draws for. `class_names` has one name a class; `defaults` say how to draw."""

    name: str
    decoder: nn.Module
    tokenizer: nn.Module
    class_names: tuple[str, ...]
    defaults: Defaults

    def guidance(self, end: float | None = None, start: float | None = None, power: float | None = None) -> Guidance:
        """Class guidance up to the weight `end`, on the model's own course; what is not given is the default.

        The model's own linear course starts no higher than it ends, and RAR's starts at 1: `end` 1 is no guidance,
        whatever the model. A `start` asks for the linear course, a `power` for RAR's. Raises ValueError for both.
        """
        if start is not None and power is not None:
            raise ValueError(
                f"Guidance was asked for with a start ({start}) and a power ({power}). The linear course has a start, "
                "the course that rises by a power begins at 1: give one of the two."
            )
        end = self.defaults.guidance if end is None else end
        power = self.defaults.guidance_power if power is None else power
        if start is not None or power is None:
            return class_guidance(Linear(min(self.defaults.guidance_start, end) if start is None else start, end))
        return class_guidance(PowerCosine(end, power))


def load(
    path: str | Path,
    tokenizer: str | Path | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    operations=nn,
) -> Model:
    """The model in a bundle, or in a decoder's file and a tokenizer's; `tokenizer` goes before the bundle's own.

    Weights are mapped from the disk and converted tensor by tensor; in the file's own dtype (`dtype=None`) on the CPU
    they stay mapped. Raises FileNotFoundError, and CheckpointError for a file that can't be read or recognised, doesn't
    fit its configuration, holds weights that are no numbers, or has no tokenizer or one of another codebook.
    """
    contents = recognise(read(path))
    decoder = _decoder_of(contents)
    tokenizer_part = contents.tokenizer if tokenizer is None else _tokenizer_of(recognise(read(tokenizer)))
    if tokenizer_part is None:
        raise CheckpointError(f"'{path}' holds a decoder alone; it needs its tokenizer. {_tokenizer_hint(decoder)}")
    check_pair(decoder, tokenizer_part)
    return Model(
        name_of(contents),
        build(decoder, device, dtype, operations),
        build(tokenizer_part, device, dtype, operations),
        class_names_of(contents),
        defaults_of(contents),
    )


def load_decoder(path: str | Path, device="cpu", dtype: torch.dtype | None = None, operations=nn) -> nn.Module:
    """The decoder of a bundle or of a released file. Raises as `load` does."""
    return build(_decoder_of(recognise(read(path))), device, dtype, operations)


def load_tokenizer(path: str | Path, device="cpu", dtype: torch.dtype | None = None, operations=nn) -> nn.Module:
    """The tokenizer of a bundle or of a released file. Raises as `load` does."""
    return build(_tokenizer_of(recognise(read(path))), device, dtype, operations)


def save_bundle(
    path: str | Path,
    decoder: nn.Module | None = None,
    tokenizer: nn.Module | None = None,
    class_names: Sequence[str] | None = None,
    defaults: Defaults | None = None,
    name: str | None = None,
) -> None:
    """Write a bundle of either network or both; the file appears whole or not at all.

    Raises CheckpointError where the two have different codebooks, the names are not one a class, or the file can't be
    written.
    """
    path = Path(path)
    networks = {"decoder": decoder, "tokenizer": tokenizer}
    networks = {word: network for word, network in networks.items() if network is not None}
    if not networks:
        raise ValueError("A bundle needs a decoder, a tokenizer or both.")
    if len(networks) == 2 and decoder.config.codebook_size != tokenizer.config.codebook_size:
        raise CheckpointError(_codebooks(decoder.config.codebook_size, tokenizer.config.codebook_size))
    facts: dict = {"name": name or path.stem}
    if class_names is not None:
        if decoder is not None and len(class_names) != decoder.config.classes:
            raise CheckpointError(f"{len(class_names)} class names for a decoder of {decoder.config.classes} classes.")
        facts["class_names"] = list(class_names)
    if defaults is not None:
        facts["defaults"] = dataclasses.asdict(defaults)
    metadata = {"randar": str(BUNDLE_VERSION), "format": "pt", "facts": json.dumps(facts)}
    tensors = {}
    for word, network in networks.items():
        family = next(family.name for family in FAMILIES if isinstance(network, family.network))
        metadata[word] = json.dumps({"family": family, "config": dataclasses.asdict(network.config)})
        tensors |= {f"{word}.{key}": value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    try:
        with replacing(path) as part:
            part.touch()
            mode = part.stat().st_mode
            save_file(tensors, part, metadata)
            part.chmod(mode)  # the safetensors library leaves a file that nobody else may read
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"The bundle '{path}' can't be written: {error}.") from error


def build(part: Part, device="cpu", dtype: torch.dtype | None = None, operations=nn) -> nn.Module:
    """The network of `part` with its weights, for inference. Raises as `load` does."""
    if part.misfit:
        what = part.release.name if part.release else f"the {part.family.name} {part.family.part} it describes"
        raise CheckpointError(f"'{part.path}' doesn't fit {what}. {part.misfit}.")
    dtype = dtype or part.dtype
    network = part.family.network(part.config, device="meta", dtype=dtype, operations=operations)
    weights = {}
    for key, tensor in part.tensors.items():
        if tensor.dtype not in DTYPES:
            known = ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES)
            raise CheckpointError(f"In '{part.path}', {key} holds {tensor.dtype}; expected one of {known}.")
        # The extremes tell without a copy: both are NaN if any weight is, and infinite if any weight is.
        if not all(extreme.isfinite() for extreme in torch.aminmax(tensor)):
            raise CheckpointError(
                f"In '{part.path}', {key} holds NaN or infinite weights: the file is damaged or its training failed."
            )
        weights[key] = tensor.to(device=device, dtype=dtype)
    network.load_state_dict(weights, assign=True)
    return network.eval().requires_grad_(False)


def check_pair(decoder: Part, tokenizer: Part) -> None:
    """Raises CheckpointError unless the tokenizer has the codebook that the decoder draws from."""
    trained_with = decoder.release and find_release(decoder.release.tokenizer).family
    if trained_with and tokenizer.family.name != trained_with:
        raise CheckpointError(
            f"{decoder.release.name} was trained with a {trained_with} tokenizer, not with {tokenizer.family.name} "
            f"('{tokenizer.path}'). {_tokenizer_hint(decoder)}"
        )
    if decoder.config.codebook_size != tokenizer.config.codebook_size:
        raise CheckpointError(
            f"{_codebooks(decoder.config.codebook_size, tokenizer.config.codebook_size)} {_tokenizer_hint(decoder)}"
        )


def name_of(contents: Contents) -> str:
    release = contents.decoder and contents.decoder.release
    return release.name if release else str(contents.facts.get("name", contents.path.stem))


def class_names_of(contents: Contents) -> tuple[str, ...]:
    """One name a class of the decoder: the bundle's, ImageNet's for releases, numbers for a decoder that names none."""
    decoder = contents.decoder
    if decoder.release:
        return imagenet_classes()
    names = contents.facts.get("class_names") or [f"class {i}" for i in range(decoder.config.classes)]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CheckpointError(f"The class names in '{contents.path}' are no list of names.")
    if len(names) != decoder.config.classes:
        raise CheckpointError(
            f"'{contents.path}' names {len(names)} classes, but its decoder has {decoder.config.classes}."
        )
    return tuple(names)


def defaults_of(contents: Contents) -> Defaults:
    """How to draw: the release's, the bundle's, or where neither says so without guidance, in the family's order."""
    decoder = contents.decoder
    if decoder.release:
        return decoder.release.defaults
    fields = contents.facts.get("defaults", {})
    try:
        defaults = Defaults(**{"order": decoder.family.network.trained_order, **fields})
    except TypeError as error:
        raise CheckpointError(f"The defaults in '{contents.path}' are not understood: {error}.") from error
    if wrong := [name for name, fits in FITTING_DEFAULTS.items() if not fits(getattr(defaults, name))]:
        found = ", ".join(f"{name} is {getattr(defaults, name)!r}" for name in wrong)
        raise CheckpointError(f"The defaults in '{contents.path}' are not understood: {found}.")
    if defaults.order not in ORDERS:
        raise CheckpointError(
            f"The defaults in '{contents.path}' ask for the order '{defaults.order}'; known: {', '.join(ORDERS)}."
        )
    return defaults


def _decoder_of(contents: Contents) -> Part:
    if contents.decoder is None:
        raise CheckpointError(
            f"'{contents.path}' is a {contents.tokenizer.family.name} tokenizer alone; expected a decoder or a bundle."
        )
    return contents.decoder


def _tokenizer_of(contents: Contents) -> Part:
    if contents.tokenizer is None:
        raise CheckpointError(
            f"'{contents.path}' is a {contents.decoder.family.name} decoder alone; expected a tokenizer or a bundle. "
            f"{_tokenizer_hint(contents.decoder)}"
        )
    return contents.tokenizer


def _codebooks(decoder: int, tokenizer: int) -> str:
    return (
        f"Decoder and tokenizer don't belong together: the decoder draws from a codebook of {decoder} tokens, the "
        f"tokenizer has {tokenizer}."
    )


def _tokenizer_hint(decoder: Part) -> str:
    """Which file to get for a decoder, as a sentence."""
    fitting = fitting_tokenizers(decoder)
    if not fitting:
        return f"Give the tokenizer it was trained with, one of {decoder.config.codebook_size} codes."
    files = " or ".join(f"{r.file} (to be downloaded as {r.name}, from {r.repo})" for r in fitting)
    return f"Give it the tokenizer {files}."
