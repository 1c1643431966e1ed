"""Tiny models with random weights, for tests of every room: `import tiny` (pytest has this folder on its path)."""

from pathlib import Path

import torch
from torch import nn

from randar_core.checkpoints.bundle import save_bundle
from randar_core.checkpoints.releases import Defaults
from randar_core.models.llamagen import LlamaGenConfig, LlamaGenTokenizer
from randar_core.models.randar import RandAR, RandARConfig
from randar_core.models.rar import RAR, RARConfig

NAMES = ("star", "fish", "house")
CODES = 16


def randomise(*networks: nn.Module, seed: int = 0, deviation: float = 0.2) -> None:
    """Normal weights from `seed`, so large that every output depends on every weight."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for network in networks:
            for parameter in network.parameters():
                values = torch.randn(parameter.shape, generator=generator, dtype=torch.float32, device="cpu")
                parameter.copy_(values * deviation)


def randar(seed: int = 0, **changes) -> RandAR:
    """4×4 cells, 16 codes, 3 classes; `changes` are fields of its configuration."""
    sizes = {"width": 32, "layers": 2, "heads": 2, "codebook_size": CODES, "classes": len(NAMES), "grid": 4}
    model = RandAR(RandARConfig(**sizes | changes))
    randomise(model, seed=seed)
    return model.eval().requires_grad_(False)


def rar(seed: int = 0, **changes) -> RAR:
    """As `randar`, of the other family."""
    sizes = {"width": 32, "layers": 2, "heads": 2, "mlp_width": 64}
    sizes |= {"codebook_size": CODES, "classes": len(NAMES), "grid": 4}
    model = RAR(RARConfig(**sizes | changes))
    randomise(model, seed=seed)
    return model.eval().requires_grad_(False)


def tokenizer(seed: int = 1, **changes) -> LlamaGenTokenizer:
    """2×2 pixels a cell, 16 codes; `changes` are fields of its configuration."""
    sizes = {"channels": 8, "multipliers": (1, 1), "res_blocks": 1, "z_channels": 8, "norm_groups": 4}
    model = LlamaGenTokenizer(LlamaGenConfig(**sizes | {"codebook_size": CODES, "codebook_dim": 4} | changes))
    randomise(model, seed=seed)
    return model.eval().requires_grad_(False)


def bundle(path: Path, classes: int = len(NAMES), **defaults) -> str:
    """A file with a RandAR model and its tokenizer; `defaults` are fields of its defaults. Returns its name."""
    names = NAMES[:classes]
    settings = Defaults(**{"guidance": 2.0, "steps": 5} | defaults)
    save_bundle(path, randar(layers=1, classes=classes), tokenizer(), names, settings, path.stem)
    return str(path)
