"""The recipe of the built-in model: `randar train-builtin` follows it, from one seed, to `builtin.safetensors`.

First a tokenizer, then the ids of the decoder's pictures, then the decoder, and in the end better pixels of the same
ids. On two CPU cores it is quickest as two processes of one thread:
`OMP_NUM_THREADS=1 torchrun --standalone --nproc-per-node 2 -m randar_core train-builtin`. How long each part took for
the model that ships, and how far it got, is in `builtin_log`.
"""

from __future__ import annotations

from pathlib import Path

import torch

from ..checkpoints.bundle import save_bundle
from ..checkpoints.releases import Defaults
from ..models.llamagen import LlamaGenConfig
from ..models.randar import RandARConfig
from ..processes import is_first_process
from .decoder import Prefixes
from .loop import CHECKPOINT, LoopSetting, Reporting
from .pictures import CLASSES, Pictures
from .runs import train_decoder, train_pixels, train_tokenizer
from .tokenizer import TokenizerRecipe

TOKENIZER_PICTURES = Pictures(seed=1, count=12_000)
TOKENIZER = LlamaGenConfig(
    channels=16,
    multipliers=(1, 1, 2, 4),
    res_blocks=1,
    codebook_size=512,
    codebook_dim=8,
    z_channels=64,
    norm_groups=8,
)
TOKENIZER_LOOP = LoopSetting(steps=1800, batch=16, learning_rate=2e-3, warmup=100, weight_decay=0.0)

PIXELS_LOOP = LoopSetting(steps=800, batch=16, learning_rate=1e-3, warmup=50, weight_decay=0.0)

DECODER = RandARConfig(width=192, layers=5, heads=4, codebook_size=512, classes=len(CLASSES), grid=16)
DECODER_LOOP = LoopSetting(
    steps=9000, batch=32, learning_rate=3e-3, warmup=150, weight_decay=0.05, average=0.999, optimizer="muon"
)
DECODER_PICTURES = Pictures(seed=2, count=16_000)
DECODER_PREFIXES = Prefixes(cells=64, whole_every=8)

DEFAULTS = Defaults(guidance=4.0, guidance_start=2.0, steps=88, boundary=0)


def procedural_facts(pictures: Pictures) -> dict:
    """What must be the same when a training on the procedural set resumes."""
    return {"procedural_seed": pictures.seed, "pictures": pictures.count, "size": pictures.size}


def train_builtin(folder: Path, device: torch.device, resume: bool = False, workers: int = 0) -> Path:
    """Train the networks under `folder`, with `resume` from what is there; returns the bundle, in bfloat16."""
    tokenizer_folder, decoder_folder, pixels_folder = (folder / name for name in ("tokenizer", "decoder", "pixels"))
    for each in (tokenizer_folder, decoder_folder, pixels_folder):
        each.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(
        TOKENIZER_PICTURES,
        procedural_facts(TOKENIZER_PICTURES),
        TOKENIZER,
        TokenizerRecipe(),
        TOKENIZER_LOOP,
        Reporting(tokenizer_folder, save_every=200, sample_every=400, workers=workers),
        device,
        resume and (tokenizer_folder / CHECKPOINT).exists(),
    )
    decoder = train_decoder(
        DECODER_PICTURES,
        procedural_facts(DECODER_PICTURES),
        tokenizer,
        DECODER,
        CLASSES,
        DEFAULTS,
        DECODER_LOOP,
        Reporting(decoder_folder, save_every=400, sample_every=2000, workers=workers),
        device,
        resume and (decoder_folder / CHECKPOINT).exists(),
        prefixes=DECODER_PREFIXES,
    )
    tokenizer = train_pixels(
        tokenizer,
        TOKENIZER_PICTURES,
        procedural_facts(TOKENIZER_PICTURES),
        TokenizerRecipe(),
        PIXELS_LOOP,
        Reporting(pixels_folder, save_every=200, sample_every=400, workers=workers),
        device,
        resume and (pixels_folder / CHECKPOINT).exists(),
    )
    path = folder / "builtin.safetensors"
    if is_first_process():
        save_bundle(path, decoder.bfloat16(), tokenizer.bfloat16(), CLASSES, DEFAULTS, "built-in")
    return path
