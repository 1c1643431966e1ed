"""Models with random weights for the fuzz: 4×4 cells, 16×16 pixels, 3 classes, in every family."""

from pathlib import Path

import torch

from randar_core.checkpoints.bundle import save_bundle
from randar_core.checkpoints.releases import Defaults
from randar_core.models.arpg import ARPG, ARPGConfig
from randar_core.models.llamagen import LlamaGenConfig, LlamaGenTokenizer
from randar_core.models.lpd import LPD, LPDConfig
from randar_core.models.randar import RandAR, RandARConfig
from randar_core.models.rar import RAR, RARConfig

CLASSES = ("circle", "square", "star")


def save(folder: Path) -> None:
    """Write the models, and a file that isn't one, into `folder`."""
    sizes = {"channels": 8, "multipliers": (1, 1, 2), "res_blocks": 1, "z_channels": 8, "norm_groups": 4}
    tokenizer = LlamaGenTokenizer(LlamaGenConfig(**sizes, codebook_size=32, codebook_dim=4))
    families = {
        "tiny": RandAR(RandARConfig(32, 2, 4, codebook_size=32, classes=3, grid=4)),
        "tiny-lpd": LPD(LPDConfig(32, 2, 4, codebook_size=32, classes=3, grid=4)),
        "tiny-arpg": ARPG(ARPGConfig(32, 4, 4, codebook_size=32, classes=3, grid=4)),
        "tiny-rar": RAR(RARConfig(32, 2, 4, mlp_width=64, codebook_size=32, classes=3, grid=4)),
    }
    generator = torch.Generator().manual_seed(0)
    for module in (tokenizer, *families.values()):
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, 0, 0.3 if parameter.ndim > 1 else 1, generator)
    for name, transformer in families.items():
        defaults = Defaults(guidance=2.0, order=transformer.traits.order)
        save_bundle(folder / f"{name}.safetensors", transformer, tokenizer, CLASSES, defaults, name)
    (folder / "broken.safetensors").write_bytes(b"\x20\x00")
