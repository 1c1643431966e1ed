"""The recipe of the built-in model: `randar train-builtin` follows it, from one seed, to `builtin.safetensors`.

First the codes of a tokenizer, then the transformer in rounds, and at last a better decoder of the same ids. On two CPU
cores it is quickest as two processes of one thread:
`OMP_NUM_THREADS=1 torchrun --standalone --nproc-per-node 2 -m randar_core train-builtin`. How long each part took for
the model that ships, and how far it got, is in `builtin_log`.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..checkpoints.bundle import save_bundle
from ..checkpoints.model import load_tokenizer
from ..checkpoints.releases import Defaults
from ..models.patches import PatchConfig
from ..models.randar import RandARConfig
from ..models.tokenizer import Tokenizer
from ..procedural.landscape.pictures import CLASSES, Landscapes
from ..runtime.distributed import broadcast_from_rank_0, is_rank_0
from .decoder_objective import DecoderRecipe
from .mean_patches import patch_tokenizer
from .samples import Prefixes
from .settings import LoopSetting, PictureSet, Reporting, Run
from .train import train_decoder, train_transformer
from .training_loop import CHECKPOINT
from .warm_start import WarmStart

# Codes that are mean patches are there in a minute: 2048 of them have 29.3 dB, where a network with as many codes to
# learn had 27.7 after 2,100 steps and was soft. With them the decoder is as large as the size of the bundle allows.
TOKENIZER_PICTURES = Landscapes(seed=1, count=40_000)
TOKENIZER = PatchConfig(codebook_size=2048, factor=8, blocks=(8, 2), widths=(112, 48), res_blocks=(5, 3), margin=1)
TOKENIZER_SEED = 0
PATCHES = "patches.safetensors"  # the tokenizer before its decoder has learnt


@dataclass(frozen=True)
class DecoderRound:
    """One training of the tokenizer's decoder."""

    pictures: Landscapes
    recipe: DecoderRecipe
    loop: LoopSetting


# First with few exchanged codes, so that the decoder learns how each looks beside the right ones, then with as many
# as a transformer gets wrong.
DECODER_LOOP = LoopSetting(steps=1500, batch=16, learning_rate=5e-4, warmup=50, weight_decay=0.0, average=0.99)
DECODER_ROUNDS = (
    DecoderRound(Landscapes(seed=6, count=64_000), DecoderRecipe(exchanged=0.05), DECODER_LOOP),
    DecoderRound(
        Landscapes(seed=6, count=64_000),
        DecoderRecipe(exchanged=0.25),
        replace(DECODER_LOOP, steps=900, learning_rate=4e-4, seed=3),
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
# second sees more of what comes after a picture's beginning, where edges become clean. More steps make it better.
TRANSFORMER_ROUNDS = (
    TransformerRound(Landscapes(seed=2, count=32_000), TRANSFORMER_LOOP, Prefixes(cells=48, whole_every=10)),
    TransformerRound(
        Landscapes(seed=4, count=32_000),
        replace(TRANSFORMER_LOOP, steps=1900, learning_rate=1.5e-3, seed=2),
        Prefixes(cells=64, whole_every=3),
        oversample=(("city", 2), ("castle", 2), ("house", 2)),
    ),
)

DEFAULTS = Defaults(guidance=4.0, guidance_start=2.0, temperature=0.6, steps=88, boundary=0)


def picture_set(pictures: Landscapes) -> PictureSet:
    return PictureSet.of(pictures)


def run_in(folder: Path, setting: LoopSetting, device: torch.device, resume: bool, **reporting) -> Run:
    """One training of the recipe; with `resume` from its checkpoint where there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    found = resume and (folder / CHECKPOINT).exists()
    reporting["overwrite"] = reporting["overwrite"] or resume
    return Run(setting, Reporting(folder, **reporting), device, found)


def tokenizer_in(folder: Path, device: torch.device, resume: bool, overwrite: bool) -> Tokenizer:
    """The tokenizer with its mean patches; with `resume` the one of `folder`, where there is one.

    Raises ValueError for one that is there and is neither to be resumed with nor to be replaced, or of another recipe.
    """
    path = folder / PATCHES

    def find() -> None:
        if path.exists() and not (resume or overwrite):
            raise ValueError(f"'{folder}' holds a training already: add --resume or --force, or name another --out.")
        if not (path.exists() and resume):
            folder.mkdir(parents=True, exist_ok=True)
            save_bundle(path, tokenizer=patch_tokenizer(TOKENIZER_PICTURES, TOKENIZER, TOKENIZER_SEED))

    broadcast_from_rank_0(find)
    tokenizer = load_tokenizer(path, device)
    if tokenizer.config != TOKENIZER:
        raise ValueError(f"'{path}' is of another recipe: add --force to begin again, or name another --out.")
    return tokenizer


def train_builtin(
    folder: Path, device: torch.device, resume: bool = False, workers: int = 0, overwrite: bool = False
) -> Path:
    """Train the networks under `folder`, with `resume` from the checkpoints there; returns the bundle, in bfloat16."""
    reporting = {"workers": workers, "overwrite": overwrite}
    often, seldom = {"save_every": 100, "sample_every": 400}, {"save_every": 100, "sample_every": 1000}
    tokenizer = tokenizer_in(folder, device, resume, overwrite)
    transformer = None
    for number, each in enumerate(TRANSFORMER_ROUNDS, 1):
        transformer = train_transformer(
            picture_set(each.pictures),
            tokenizer,
            TRANSFORMER,
            DEFAULTS,
            run_in(folder / f"transformer-{number}", each.loop, device, resume, **seldom, **reporting),
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
        )
    path = folder / "builtin.safetensors"
    if is_rank_0():
        save_bundle(path, transformer.bfloat16(), tokenizer.bfloat16(), CLASSES, DEFAULTS, "built-in")
    return path
