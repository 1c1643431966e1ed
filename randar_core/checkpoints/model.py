"""A model: a transformer with its tokenizer, class names and defaults, opened from files in one way."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from ..classes import imagenet_classes, parse_condition
from ..decoding.conditions import Prompt, PromptBatch
from ..decoding.guidance import Guidance, Linear, PowerCosine
from ..decoding.options import DecodingOptions
from ..decoding.orders import order_named
from ..decoding.sampling import Sampling
from ..models import layers
from .build import build
from .detect import Detected, Network, detect
from .download import downloads_folder
from .locate import locate, weight_files
from .pairing import check_pair, find_tokenizer, tokenizer_of, transformer_of
from .releases import Defaults
from .weights import CheckpointError, read_weights


@dataclass(frozen=True)
class ModelCard:
    """What is known of a model next to its networks.

    name: of the release, the bundle or the file.
    class_names: one for each class.
    defaults: how the model draws when the user says nothing.
    """

    name: str
    class_names: tuple[str, ...]
    defaults: Defaults

    def guidance(self, end: float | None = None, start: float | None = None, power: float | None = None) -> Guidance:
        """Class guidance up to the weight `end`, on the model's own schedule; None is the default.

        The model's own linear schedule starts no higher than it ends, and RAR's starts at 1: an `end` of 1 turns
        guidance off, for any model. A `start` asks for the linear schedule, a `power` for RAR's. Raises ValueError for
        both.
        """
        if start is not None and power is not None:
            raise ValueError(
                f"Guidance was asked for with a start ({start}) and a power ({power}). A linear schedule has a start, "
                "a schedule with a power starts at 1. Give one of the two."
            )
        end = self.defaults.guidance if end is None else end
        power = self.defaults.guidance_power if power is None else power
        if start is not None or power is None:
            return Guidance(Linear(min(self.defaults.guidance_start, end) if start is None else start, end))
        return Guidance(PowerCosine(end, power))

    def options(self, seed: int = 0, **changes) -> DecodingOptions:
        """How the model draws by default; `changes` are fields of DecodingOptions."""
        sampling = Sampling(self.defaults.temperature)
        order = order_named(self.defaults.order, self.defaults.repulsion)
        return replace(
            DecodingOptions(self.guidance(), self.defaults.steps, seed, sampling=sampling, order=order), **changes
        )


@dataclass(frozen=True)
class Model(ModelCard):
    """A transformer with the tokenizer that it draws for.

    transformer: draws tokens.
    tokenizer: turns pixels into tokens and back.
    files: that its weights were read from.
    """

    transformer: nn.Module
    tokenizer: nn.Module
    files: tuple[Path, ...] = ()

    def prompts(self, *texts: str | int) -> PromptBatch:
        """What the pictures of a batch show: for each a class, by name or id, or a blend ("0.7*fish + 0.3*moon").

        Raises ValueError as `parse_condition` does.
        """
        device = next(self.transformer.parameters()).device
        items = tuple(Prompt((parse_condition(text, self.class_names),)) for text in texts)
        return PromptBatch(items, device)


@dataclass(frozen=True)
class Opened(ModelCard):
    """A model whose files were read and recognised; nothing is built yet.

    transformer, tokenizer: its networks, for `build`.
    bundled_tokenizer: the one in the transformer's own file, which may not be the one that is used.
    notes: what the user should know of the files, as sentences.
    """

    transformer: Network
    tokenizer: Network
    bundled_tokenizer: Network | None
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The files with the weights, each once."""
        versions = (*self.transformer.versions, *self.tokenizer.versions)
        return tuple(dict.fromkeys(version.path for version in versions))

    def build(self, device="cpu", dtype: torch.dtype | None = None, operations=layers) -> Model:
        """The model on `device`, in `dtype` or that of its files. Raises CheckpointError as `build` does."""
        return Model(
            self.name,
            self.class_names,
            self.defaults,
            build(self.transformer, device, dtype, operations),
            build(self.tokenizer, device, dtype, operations),
            self.files,
        )


def open_model(
    name_or_file: str | Path, tokenizer: str | Path | None = None, search: Iterable[Path] | None = None
) -> Opened:
    """Read and recognise the files of a model. Each is opened once.

    name_or_file: 'builtin', the name of a downloaded release, a bundle, or the file of a transformer.
    tokenizer: its tokenizer, as a name or a file; None: the bundle's own, or one that is found.
    search: the files among which it is found; None: those next to the transformer, then the downloads.

    Raises FileNotFoundError, ValueError for an unknown name, and CheckpointError for a file that can't be read or isn't
    recognised, and where the tokenizer is missing or of another codebook.
    """
    detected = detect(read_weights(locate(name_or_file)))
    transformer, notes = transformer_of(detected), []
    if tokenizer is not None:
        path = locate(tokenizer)
        own_tokenizer = tokenizer_of(detected if path == detected.path else detect(read_weights(path)))
    elif detected.tokenizer is not None:
        own_tokenizer = detected.tokenizer
    else:
        if search is None:
            search = weight_files((detected.path.parent, downloads_folder()))
        own_tokenizer = find_tokenizer(transformer, search)
        if not own_tokenizer.is_release:
            notes.append(f"The tokenizer '{own_tokenizer.path}' was found by the size of its codebook alone.")
    check_pair(transformer, own_tokenizer)
    if detected.wrapper:
        notes.append(f"'{detected.path}' is a training checkpoint; its weights were taken from {detected.wrapper}.")
    return Opened(
        name_of(detected),
        class_names_of(detected),
        defaults_of(detected),
        transformer,
        own_tokenizer,
        detected.tokenizer,
        tuple(notes),
    )


def load_model(
    name_or_file: str | Path,
    tokenizer: str | Path | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    operations=layers,
) -> Model:
    """The model in the files, see `open_model`, on `device`, in `dtype` or that of its files.

    Raises as `open_model`, and CheckpointError for weights that don't fit their configuration or aren't finite.
    """
    return open_model(name_or_file, tokenizer).build(device, dtype, operations)


def load_transformer(path: str | Path, device="cpu", dtype: torch.dtype | None = None, operations=layers) -> nn.Module:
    """The transformer of a bundle or of a released file. Raises as `load_model` does."""
    return build(transformer_of(detect(read_weights(path))), device, dtype, operations)


def load_tokenizer(path: str | Path, device="cpu", dtype: torch.dtype | None = None) -> nn.Module:
    """The tokenizer of a bundle or of a released file. Raises as `load_model` does."""
    return build(tokenizer_of(detect(read_weights(path))), device, dtype, layers)


def name_of(detected: Detected) -> str:
    """The name of the release where the file has its name and shapes; otherwise the bundle's own, or the file's."""
    transformer = detected.transformer
    if transformer and transformer.is_release:
        return transformer.release.name
    return str(detected.metadata.get("name", detected.path.stem))


def class_names_of(detected: Detected) -> tuple[str, ...]:
    """One name for each class: ImageNet's for the sizes of the releases, the bundle's, or numbers where it has none."""
    transformer = detected.transformer
    if transformer.release:
        return imagenet_classes()
    names = detected.metadata.get("class_names") or [f"class {i}" for i in range(transformer.config.classes)]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CheckpointError(f"The class names in '{detected.path}' are not a list of names.")
    if len(names) != transformer.config.classes:
        raise CheckpointError(
            f"'{detected.path}' names {len(names)} classes, but its transformer has {transformer.config.classes}."
        )
    return tuple(names)


def defaults_of(detected: Detected) -> Defaults:
    """How to draw: the release's, the bundle's, or where neither says so without guidance, in the family's order."""
    transformer = detected.transformer
    if transformer.release:
        return transformer.release.defaults
    fields = detected.metadata.get("defaults", {})
    try:
        return Defaults(**{"order": transformer.family.network.traits.order, **fields})
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"The defaults in '{detected.path}' are not valid: {error}.") from error
