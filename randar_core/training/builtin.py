"""The recipe of the built-in model: `randar train-builtin` follows it, from one seed, to `builtin.safetensors`.

First a tokenizer, then the decoder in rounds, and in the end better pixels of the same ids, in rounds too. On two CPU
cores it is quickest as two processes of one thread:
`OMP_NUM_THREADS=1 torchrun --standalone --nproc-per-node 2 -m randar_core train-builtin`. How long each part took for
the model that ships, and how far it got, is in `builtin_log`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..checkpoints.bundle import save_bundle
from ..checkpoints.releases import Defaults
from ..models.llamagen import LlamaGenConfig
from ..models.randar import RandARConfig
from ..procedural.landscape.render import CLASSES, Landscapes
from ..processes import is_first_process
from .decoder import Prefixes, Start
from .loop import CHECKPOINT, LoopSetting, Reporting
from .runs import train_decoder, train_pixels, train_tokenizer
from .tokenizer import PixelsRecipe, TokenizerRecipe

TOKENIZER_PICTURES = Landscapes(seed=1, count=10_000)
TOKENIZER = LlamaGenConfig(
    channels=16,
    multipliers=(1, 1, 2, 4),
    res_blocks=1,
    codebook_size=1024,
    codebook_dim=8,
    z_channels=64,
    norm_groups=8,
)
TOKENIZER_LOOP = LoopSetting(steps=3000, batch=8, learning_rate=2e-3, warmup=100, weight_decay=0.0)


@dataclass(frozen=True)
class PixelsRound:
    """One training of the half that makes pixels, which `decoder_multipliers` and a `margin` may change first."""

    pictures: Landscapes
    recipe: PixelsRecipe
    loop: LoopSetting
    decoder_multipliers: tuple[int, ...] | None = None
    margin: int | None = None


PIXELS_LOOP = LoopSetting(steps=800, batch=16, learning_rate=1e-3, warmup=50, weight_decay=0.0)
# Twice as wide in the two coarsest levels, so that it can see how an outline goes on, with codes as a decoder draws
# them, and with a margin against a line along the edge.
PIXELS_ROUNDS = (
    PixelsRound(
        Landscapes(seed=6, count=16_000),
        PixelsRecipe(),
        replace(PIXELS_LOOP, average=0.995),
        decoder_multipliers=(1, 1, 4, 8),
        margin=1,
    ),
)

DECODER = RandARConfig(width=256, layers=4, heads=4, codebook_size=1024, classes=len(CLASSES), grid=16)
DECODER_LOOP = LoopSetting(
    steps=500, batch=48, learning_rate=3e-3, warmup=50, weight_decay=0.05, average=0.99, optimizer="muon"
)


@dataclass(frozen=True)
class Round:
    """One training of the decoder, on pictures of its own. Layers that are new to it begin as if they weren't there."""

    pictures: Landscapes
    loop: LoopSetting
    prefixes: Prefixes
    layers: int | None = None
    """As many as the decoder has from here on; None: those of `DECODER`."""
    oversample: tuple[tuple[str, int], ...] = ()
    """Classes whose pictures come so many times as often as others."""


# Each round begins with what the one before learnt, and sees new pictures; the end of every one is a good model. Later
# ones have more layers, see more of what comes after a picture's beginning, where edges become clean, and last longer.
DECODER_ROUNDS = (
    Round(Landscapes(seed=2, count=8_000), DECODER_LOOP, Prefixes(cells=48, whole_every=8)),
    Round(
        Landscapes(seed=3, count=24_000),
        replace(DECODER_LOOP, steps=6000, learning_rate=2e-3, average=0.999, seed=1),
        Prefixes(cells=48, whole_every=16),
        layers=6,
    ),
    Round(
        Landscapes(seed=4, count=32_000),
        replace(DECODER_LOOP, steps=5000, learning_rate=1.2e-3, average=0.999, seed=2),
        Prefixes(cells=64, whole_every=8),
        layers=6,
        oversample=(("city", 2), ("castle", 2), ("house", 2)),
    ),
)

DEFAULTS = Defaults(guidance=4.0, guidance_start=2.0, temperature=0.8, steps=88, boundary=0)


def train_builtin(folder: Path, device: torch.device, resume: bool = False, workers: int = 0) -> Path:
    """Train the networks under `folder`, with `resume` from what is there; returns the bundle, in bfloat16."""
    tokenizer_folder = folder / "tokenizer"
    decoder_folders = [folder / f"decoder-{number}" for number in range(1, len(DECODER_ROUNDS) + 1)]
    pixels_folders = [folder / f"pixels-{number}" for number in range(1, len(PIXELS_ROUNDS) + 1)]
    for each in (tokenizer_folder, *decoder_folders, *pixels_folders):
        each.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(
        TOKENIZER_PICTURES,
        TOKENIZER_PICTURES.facts(),
        TOKENIZER,
        TokenizerRecipe(),
        TOKENIZER_LOOP,
        Reporting(tokenizer_folder, save_every=100, sample_every=400, workers=workers),
        device,
        resume and (tokenizer_folder / CHECKPOINT).exists(),
    )
    decoder = None
    for decoder_folder, each in zip(decoder_folders, DECODER_ROUNDS, strict=True):
        decoder = train_decoder(
            each.pictures,
            each.pictures.facts(),
            tokenizer,
            replace(DECODER, layers=each.layers or DECODER.layers),
            CLASSES,
            DEFAULTS,
            each.loop,
            Reporting(decoder_folder, save_every=100, sample_every=250, workers=workers),
            device,
            resume and (decoder_folder / CHECKPOINT).exists(),
            prefixes=each.prefixes,
            start=None if decoder is None else Start(decoder, CLASSES),
            oversample=each.oversample,
        )
    for pixels_folder, each in zip(pixels_folders, PIXELS_ROUNDS, strict=True):
        tokenizer = train_pixels(
            tokenizer,
            each.pictures,
            each.pictures.facts(),
            each.recipe,
            each.loop,
            Reporting(pixels_folder, save_every=200, sample_every=400, workers=workers),
            device,
            resume and (pixels_folder / CHECKPOINT).exists(),
            each.decoder_multipliers,
            each.margin,
        )
    path = folder / "builtin.safetensors"
    if is_first_process():
        save_bundle(path, decoder.bfloat16(), tokenizer.bfloat16(), CLASSES, DEFAULTS, "built-in")
    return path
