"""Models of random weights that stand in for those of users and for those that must be downloaded."""

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from randar_core.checkpoints.bundle import save_bundle
from randar_core.checkpoints.families import family_of
from randar_core.checkpoints.releases import Defaults, find_release
from randar_core.classes import imagenet_classes
from randar_core.models.llamagen import LlamaGenConfig, LlamaGenTokenizer
from randar_core.models.randar import RandAR, RandARConfig

CLASSES = ("circle", "square", "star")
UPSCALER = "RealESRGAN_x4plus.safetensors"


def save_small(path: Path, width: int, layers: int) -> None:
    """A bundle with 16×16 cells and 128×128 pixels."""
    transformer = RandAR(RandARConfig(width, layers, 4, codebook_size=64, classes=len(CLASSES)))
    sizes = {"channels": 8, "multipliers": (1, 1, 2, 2), "res_blocks": 1, "z_channels": 8, "norm_groups": 4}
    tokenizer = LlamaGenTokenizer(LlamaGenConfig(**sizes, codebook_size=64, codebook_dim=4))
    generator = torch.Generator().manual_seed(0)
    for parameter in [*transformer.parameters(), *tokenizer.parameters()]:
        torch.nn.init.normal_(parameter, 0, 0.1 if parameter.ndim > 1 else 1, generator)
    save_bundle(path, transformer, tokenizer, CLASSES, Defaults(guidance=2.0), path.stem)


def save_released(models: Path) -> None:
    """What the workflows need beyond the built-in model, under the names of the released files, in a models folder."""
    folder = models / "randar"
    # Keys and shapes are the released ones, so that the tokenizer is found.
    for release in map(find_release, ("randar-l-llamagen", "llamagen-vq16")):
        family = family_of(release.config)
        save_file(random_weights(family.shapes(release.config)), folder / release.file)
    # With all layers, 256 calls of RAR or 512 pixels of LPD take minutes on a CPU.
    pairs = ("rar-b", "maskgit-vqgan"), ("lpd-l-512", "llamagen-vq16"), ("arpg-xl", "llamagen-vq16")
    for name, tokenizer in pairs:
        release = find_release(name)
        networks = random_network(release, layers=2), random_network(find_release(tokenizer), channels=32)
        save_bundle(folder / release.file, *networks, imagenet_classes(), release.defaults, release.name)
    save_upscaler(models / "upscale_models" / UPSCALER)


def random_network(release, **changes) -> torch.nn.Module:
    family, config = family_of(release.config), replace(release.config, **changes)
    network = family.network(config, device="meta", dtype=torch.bfloat16)
    network.load_state_dict(random_weights(family.shapes(config)), assign=True)
    return network


def random_weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    noise = torch.randn(1 << 16, generator=torch.Generator().manual_seed(0)).bfloat16() * 0.05
    weights = {}
    for key, shape in shapes.items():
        size = torch.Size(shape).numel()
        values = noise.repeat(-(-size // len(noise)))[:size].reshape(shape)
        weights[key] = values.contiguous() if len(shape) > 1 or "bias" in key else torch.ones_like(values)
    return weights


def save_upscaler(path: Path) -> None:
    """An ESRGAN of one narrow block, for four times the size."""
    width, growth = 8, 32
    ends = {"conv_first": (3, width), "conv_last": (width, 3)}
    sizes = ends | dict.fromkeys(("conv_body", "conv_up1", "conv_up2", "conv_hr"), (width, width))
    for block in (1, 2, 3):
        for layer in (1, 2, 3, 4, 5):
            sizes[f"body.0.rdb{block}.conv{layer}"] = (width + (layer - 1) * growth, growth if layer < 5 else width)
    shapes = {f"{key}.weight": (to, came, 3, 3) for key, (came, to) in sizes.items()}
    shapes |= {f"{key}.bias": (to,) for key, (_, to) in sizes.items()}
    path.parent.mkdir(exist_ok=True)
    save_file({key: value.float() for key, value in random_weights(shapes).items()}, path)
