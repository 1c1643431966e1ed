"""The trainings from pictures to a file: a tokenizer, a decoder for the tokens it makes, and better pixels of them."""

from __future__ import annotations

import hashlib
import types
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from ..checkpoints.bundle import save_bundle
from ..checkpoints.model import Model
from ..checkpoints.releases import Defaults
from ..decoding.options import DecodingOptions
from ..decoding.sampling import Sampling
from ..decoding.schedule import call_sizes
from ..io.images import contact_sheet, save_png
from ..models.llamagen import LlamaGenConfig, LlamaGenTokenizer
from ..models.randar import RandAR, RandARConfig
from ..models.tokenizer import Tokenizer
from ..runtime.capabilities import mixed_precision
from ..runtime.distributed import broadcast_from_rank_0, is_rank_0, rank_and_world_size, wait_for_all
from ..tasks.generate import generate
from .log import progress
from .loop import LoopSetting, Reporting, check_beginning, make_optimizers, train
from .net2wider import widen
from .samples import PixelSamples
from .tokenizer import PixelsObjective, PixelsRecipe, TokenizerObjective, TokenizerRecipe
from .tokens import TokenSet, encode_set, load_tokens, save_tokens
from .transformer import DecoderObjective, Prefixes, Start, TokenSamples, begin_with, initialise, oversampling

TOKENIZER_FILE, IDS_FILE, MODEL_FILE = "tokenizer.safetensors", "ids.safetensors", "model.safetensors"


class _GroupNorm(nn.GroupNorm):
    """Torch's CPU kernels are quickest with convolutions channels-last and norms channels-first."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.contiguous()).contiguous(memory_format=torch.channels_last)


_CPU_LAYERS = types.SimpleNamespace(Conv2d=nn.Conv2d, Embedding=nn.Embedding, GroupNorm=_GroupNorm)


def train_tokenizer(
    pictures,
    facts: dict[str, Any],
    config: LlamaGenConfig,
    recipe: TokenizerRecipe,
    setting: LoopSetting,
    reporting: Reporting,
    device: torch.device,
    resume: bool = False,
) -> LlamaGenTokenizer:
    """Train on `pictures`, (uint8 [H, W, 3], label) each; `facts` are what they are. Writes `tokenizer.safetensors`.

    Raises as `loop.train` does.
    """
    tokenizer = _new_tokenizer(config, setting.seed, device)
    tokenizer = train(
        TokenizerObjective(tokenizer, recipe, setting.steps, setting.seed),
        PixelSamples(pictures, setting.seed),
        setting,
        reporting,
        {"tokenizer": _network_facts(config), "recipe": asdict(recipe), "pictures": facts},
        device,
        resume,
        _reconstructions(tokenizer, pictures, reporting.folder, device),
    )
    if is_rank_0():
        save_bundle(reporting.folder / TOKENIZER_FILE, tokenizer=tokenizer)
    return tokenizer


def train_pixels(
    tokenizer: LlamaGenTokenizer,
    pictures,
    facts: dict[str, Any],
    recipe: PixelsRecipe,
    setting: LoopSetting,
    reporting: Reporting,
    device: torch.device,
    resume: bool = False,
    decoder_multipliers: Sequence[int] | None = None,
    margin: int | None = None,
) -> LlamaGenTokenizer:
    """A copy of `tokenizer` that makes better pixels of the same ids, see `PixelsObjective`; decoders keep working.

    `decoder_multipliers` make the half that does so wider, see `widen`, and `margin` gives it a margin, see
    `LlamaGenConfig`; None keeps what it has. Writes `tokenizer.safetensors`. Raises as `widen` and `loop.train` do.
    """
    changes = {"decoder_multipliers": decoder_multipliers, "margin": margin}
    config = replace(tokenizer.config, **{name: value for name, value in changes.items() if value is not None})
    facts = {
        "tokenizer": _network_facts(config),
        "recipe": asdict(recipe),
        "start": hash_of(tokenizer.state_dict()),
        "pictures": facts,
    }
    copy = _new_tokenizer(config, setting.seed, device)
    widen(copy, tokenizer, setting.seed)
    sheet = _reconstructions(copy, pictures, reporting.folder, device)
    objective = PixelsObjective(copy, recipe)
    samples = objective.samples(PixelSamples(pictures, setting.seed))
    copy = train(objective, samples, setting, reporting, facts, device, resume, sheet)
    if is_rank_0():
        save_bundle(reporting.folder / TOKENIZER_FILE, tokenizer=copy)
    return copy


def _network_facts(config: LlamaGenConfig) -> dict[str, Any]:
    """What must be the same when a tokenizer's training resumes."""
    # Newer fields are left out where they change nothing, so that trainings from before there were any resume.
    newer = {"decoder_multipliers": None, "margin": 0}
    return {name: value for name, value in asdict(config).items() if name not in newer or value != newer[name]}


def _new_tokenizer(config: LlamaGenConfig, seed: int, device: torch.device) -> LlamaGenTokenizer:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # and no other device's
        tokenizer = LlamaGenTokenizer(config, operations=_CPU_LAYERS if device.type == "cpu" else nn)
    return tokenizer.to(memory_format=torch.channels_last)


def _reconstructions(
    tokenizer: LlamaGenTokenizer, pictures, folder: Path, device: torch.device
) -> Callable[[int], None]:
    """Draws the sheet of a step: the first pictures, each row over the row of what came back."""
    columns = min(12, len(pictures))
    # Two rows where there are as many; a row that isn't full would stand beside what came back.
    count = 24 if len(pictures) >= 24 else columns
    shown = torch.stack([torch.from_numpy(pictures[i][0].copy()) for i in range(count)])
    shown = rearrange(shown, "b h w c -> b c h w") / 255

    def sheet(step: int) -> None:
        with torch.no_grad(), mixed_precision(device):
            decoded = tokenizer.decode(tokenizer.encode(shown.to(device))).float().cpu()
        pairs = torch.cat([torch.cat(rows) for rows in zip(shown.split(columns), decoded.split(columns), strict=True)])
        save_png(folder / f"samples-{step:06}.png", contact_sheet(pairs, columns))

    return sheet


def fingerprint(tokenizer: Tokenizer) -> str:
    """A hash of all weights that make ids of pixels: of encoder and codebook, not of the half that makes pixels."""
    return hash_of(_makes_ids(tokenizer))


def makes_same_ids(one: Tokenizer, other: Tokenizer) -> bool:
    """Whether two tokenizers are the same but for the half that makes pixels, and for a rounding to bfloat16."""
    rounded = ({name: value.bfloat16() for name, value in _makes_ids(each).items()} for each in (one, other))
    return hash_of(next(rounded)) == hash_of(next(rounded))


def _makes_ids(tokenizer: Tokenizer) -> dict[str, Tensor]:
    pixels = ("decoder.", "post_quant_conv.")
    return {name: value for name, value in tokenizer.state_dict().items() if not name.startswith(pixels)}


def hash_of(weights: dict[str, Tensor]) -> str:
    hashed = hashlib.blake2b(digest_size=8)
    for value in weights.values():
        hashed.update(value.detach().float().cpu().numpy().tobytes())
    return hashed.hexdigest()


def encoded(
    tokenizer: Tokenizer, pictures, facts: dict[str, Any], folder: Path, device: torch.device, workers: int = 0
) -> TokenSet:
    """The ids of `pictures`, made once and kept in `folder`, where a training that resumes finds them.

    `facts` say what they depend on, with the tokenizer's fingerprint. Raises OSError where they can't be written. Under
    `torchrun` every process makes its share; the first one writes them, where all of them look for them later.
    """
    path = folder / IDS_FILE
    if not broadcast_from_rank_0(lambda: load_tokens(path, facts) is not None):
        share = -(-len(pictures) // rank_and_world_size()[1])
        with progress(share, " pictures a process", "ids", shown=is_rank_0()) as advance:
            tokens = encode_set(tokenizer, pictures, facts, device, workers, on_batch=advance)
        if is_rank_0():
            save_tokens(tokens, path)
        wait_for_all()
        return tokens
    tokens = load_tokens(path, facts)
    if tokens is None:
        raise FileNotFoundError(
            f"The ids '{path}', which the first process has, aren't here. Give all machines an --out folder that they "
            "share."
        )
    return tokens


def train_decoder(
    pictures,
    facts: dict[str, Any],
    tokenizer: Tokenizer,
    config: RandARConfig,
    class_names: Sequence[str],
    defaults: Defaults,
    setting: LoopSetting,
    reporting: Reporting,
    device: torch.device,
    resume: bool = False,
    class_dropout: float = 0.1,
    prefixes: Prefixes | None = None,
    start: Start | None = None,
    oversample: Iterable[tuple[str, int]] = (),
) -> RandAR:
    """Train on the ids of `pictures`, as in `train_tokenizer`, a new decoder or one that begins as `start` does.

    Pictures of a class in `oversample`, by name or id, come that many times as often as others. Writes the ids, see
    `encoded`, and the bundle `model.safetensors`, a first one with every sheet. Raises as `loop.train`, `begin_with`,
    `oversampling` and `encoded` do.
    """
    decoder = RandAR(config)
    initialise(decoder, setting.seed)
    if start is not None:
        begin_with(decoder, class_names, start)
    token_facts = facts | {"tokenizer": fingerprint(tokenizer)}
    facts = {"decoder": asdict(config), "class_dropout": class_dropout, "tokens": token_facts}
    if prefixes is not None:
        facts["prefixes"] = asdict(prefixes)
    often = oversampling(oversample, class_names)
    if often is not None:
        facts["oversample"] = often.tolist()
    if start is not None:
        facts["start"] = hash_of(start.transformer.state_dict())
    # What can be refused is, before the ids are made, which may take long and replaces those of another training.
    check_beginning(setting, reporting, resume, facts)
    make_optimizers(decoder, setting)
    model = Model(reporting.folder.name, decoder, tokenizer, tuple(class_names), defaults)
    model.guidance()
    call_sizes(config.grid**2, defaults.steps)
    tokens = encoded(tokenizer, pictures, token_facts, reporting.folder, device, reporting.workers)
    tokenizer = tokenizer.to(device).eval()

    def sheet(step: int) -> None:
        classes = list(range(min(12, config.classes))) * 2
        pixels = draw(model, classes, setting.seed, device)
        save_png(reporting.folder / f"samples-{step:06}.png", contact_sheet(pixels, len(classes) // 2))
        write(reporting.folder / MODEL_FILE)

    def write(path: Path) -> None:
        save_bundle(path, decoder, tokenizer, class_names, defaults, model.name)

    samples = TokenSamples(
        tokens.ids,
        tokens.labels,
        decoder.null_class,
        setting.seed,
        class_dropout,
        prefixes,
        setting.batch,
        often,
    )
    decoder = train(
        DecoderObjective(decoder),
        samples,
        setting,
        reporting,
        facts,
        device,
        resume,
        sheet,
    )
    if is_rank_0():
        write(reporting.folder / MODEL_FILE)
    return decoder


@torch.inference_mode()
def draw(model: Model, classes: list[int], seed: int, device: torch.device) -> Tensor:
    """Pictures [B, 3, H, W] of `classes` on the CPU, as the model's defaults draw them."""
    options = DecodingOptions(model.guidance(), model.defaults.steps, seed, Sampling(model.defaults.temperature))
    with mixed_precision(device):
        decoded = generate(model.transformer, torch.tensor(classes, device=device), options)
        return model.tokenizer.decode(decoded.ids).float().clamp(0, 1).cpu()
