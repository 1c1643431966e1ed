"""The recipe of the built-in model: `randar train-builtin` follows it, from one seed, to `builtin.safetensors`.

First a tokenizer, then the transformer in rounds, and at last a better decoder of the same ids, in rounds too. On two
CPU cores it is quickest as two processes of one thread:
`OMP_NUM_THREADS=1 torchrun --standalone --nproc-per-node 2 -m randar_core train-builtin`. How long each part took for
the model that ships, and how far it got, is in `builtin_log`.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..checkpoints.bundle import save_bundle
from ..checkpoints.releases import Defaults
from ..models.llamagen import LlamaGenConfig
from ..models.randar import RandARConfig
from ..procedural.landscape.pictures import CLASSES, Landscapes
from ..runtime.distributed import is_rank_0
from .decoder_objective import DecoderRecipe
from .samples import Prefixes
from .settings import LoopSetting, PictureSet, Reporting, Run
from .tokenizer_objective import TokenizerRecipe
from .train import train_decoder, train_tokenizer, train_transformer
from .training_loop import CHECKPOINT
from .warm_start import WarmStart

TOKENIZER_PICTURES = Landscapes(seed=1, count=40_000)
# Wide where the pixels are, in the decoder also below: 16 channels at full resolution and more in the coarse levels
# gave softer pictures. As many codes as the size of the bundle allows.
TOKENIZER = LlamaGenConfig(
    channels=32,
    multipliers=(1, 1, 2, 2),
    decoder_multipliers=(1, 2, 4, 2),
    res_blocks=1,
    codebook_size=2048,
    codebook_dim=8,
    z_channels=64,
    norm_groups=8,
)
# The encoder learns the ids of mean patches, and to the end so: 400 steps of it reach what took 1,300 steps of finding
# codes at the same time.
TOKENIZER_LOOP = LoopSetting(steps=1800, batch=8, learning_rate=2e-3, warmup=100, weight_decay=0.0, average=0.99)
TOKENIZER_RECIPE = TokenizerRecipe(taught=1500)


@dataclass(frozen=True)
class DecoderRound:
    """One training of the tokenizer's decoder, which `decoder_multipliers` and a `margin` may change first."""

    pictures: Landscapes
    recipe: DecoderRecipe
    loop: LoopSetting
    decoder_multipliers: tuple[int, ...] | None = None
    margin: int | None = None


# With codes as a transformer draws them, a margin against a line along the edge, and a discriminator. A code says that
# a mountain has facets, not where each ends: the error of the pixels alone would blur them.
DECODER_LOOP = LoopSetting(steps=2400, batch=16, learning_rate=1e-3, warmup=50, weight_decay=0.0, average=0.995)
DECODER_ROUNDS = (
    DecoderRound(
        Landscapes(seed=6, count=38_400), DecoderRecipe(exchanged=0.15, adversarial=0.5), DECODER_LOOP, margin=1
    ),
)

TRANSFORMER = RandARConfig(width=256, layers=6, heads=4, codebook_size=2048, classes=len(CLASSES), grid=16)
TRANSFORMER_LOOP = LoopSetting(
    steps=4000, batch=48, learning_rate=3e-3, warmup=100, weight_decay=0.05, average=0.999, optimizer="muon"
)


@dataclass(frozen=True)
class TransformerRound:
    """One training of the transformer, on pictures of its own."""

    pictures: Landscapes
    loop: LoopSetting
    prefixes: Prefixes
    oversample: tuple[tuple[str, int], ...] = ()
    """Classes whose pictures come so many times as often as others."""


# Each round begins with what the one before learnt, and sees new pictures; the end of every one is a good model. The
# second sees more of what comes after a picture's beginning, where edges become clean.
TRANSFORMER_ROUNDS = (
    TransformerRound(Landscapes(seed=2, count=24_000), TRANSFORMER_LOOP, Prefixes(cells=48, whole_every=16)),
    TransformerRound(
        Landscapes(seed=4, count=32_000),
        replace(TRANSFORMER_LOOP, steps=5000, learning_rate=1.5e-3, seed=2),
        Prefixes(cells=64, whole_every=8),
        oversample=(("city", 2), ("castle", 2), ("house", 2)),
    ),
)

DEFAULTS = Defaults(guidance=4.0, guidance_start=2.0, temperature=0.8, steps=88, boundary=0)


def picture_set(pictures: Landscapes) -> PictureSet:
    return PictureSet.of(pictures)


def run_in(folder: Path, setting: LoopSetting, device: torch.device, resume: bool, **reporting) -> Run:
    """One training of the recipe; with `resume` from its checkpoint where there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    found = resume and (folder / CHECKPOINT).exists()
    reporting["overwrite"] = reporting["overwrite"] or resume
    return Run(setting, Reporting(folder, **reporting), device, found)


def train_builtin(
    folder: Path, device: torch.device, resume: bool = False, workers: int = 0, overwrite: bool = False
) -> Path:
    """Train the networks under `folder`, with `resume` from the checkpoints there; returns the bundle, in bfloat16."""
    reporting = {"workers": workers, "overwrite": overwrite}
    often, seldom = {"save_every": 100, "sample_every": 400}, {"save_every": 100, "sample_every": 1000}
    tokenizer = train_tokenizer(
        picture_set(TOKENIZER_PICTURES),
        TOKENIZER,
        TOKENIZER_RECIPE,
        run_in(folder / "tokenizer", TOKENIZER_LOOP, device, resume, **often, **reporting),
    )
    transformer = None
    for number, each in enumerate(TRANSFORMER_ROUNDS, 1):
        transformer = train_transformer(
            picture_set(each.pictures),
            tokenizer,
            TRANSFORMER,
            DEFAULTS,
            run_in(folder / f"decoder-{number}", each.loop, device, resume, **seldom, **reporting),
            prefixes=each.prefixes,
            start=None if transformer is None else WarmStart(transformer, CLASSES),
            oversample=each.oversample,
        )
    for number, each in enumerate(DECODER_ROUNDS, 1):
        tokenizer = train_decoder(
            tokenizer,
            picture_set(each.pictures),
            each.recipe,
            run_in(folder / f"pixels-{number}", each.loop, device, resume, **often, **reporting),
            each.decoder_multipliers,
            each.margin,
        )
    path = folder / "builtin.safetensors"
    if is_rank_0():
        save_bundle(path, transformer.bfloat16(), tokenizer.bfloat16(), CLASSES, DEFAULTS, "built-in")
    return path
