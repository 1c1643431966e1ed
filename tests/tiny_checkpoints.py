"""What tests of checkpoints share: tiny networks, the released keys, files with the network's own keys."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from randar_core.models.llamagen import LlamaGenConfig
from randar_core.models.maskgit import MaskGITConfig
from randar_core.models.randar import RandARConfig

KEYS = json.loads((Path(__file__).parent / "golden" / "checkpoint_keys.json").read_text())
RELEASED = {
    "randar_0.3b_llamagen": "randar-l-llamagen",
    "randar_0.3b_maskgit": "randar-l-maskgit",
    "randar_0.7b_llamagen": "randar-xl-llamagen",
    "llamagen_vq_ds16_c2i": "llamagen-vq16",
    "maskgit_vqgan_imagenet_f16_256": "maskgit-vqgan",
    "rar_b": "rar-b",
    "rar_l": "rar-l",
    "rar_xl": "rar-xl",
    "rar_xxl": "rar-xxl",
    "lpd_l_256": "lpd-l-256",
    "lpd_xl_256": "lpd-xl-256",
    "lpd_xxl_256": "lpd-xxl-256",
    "lpd_l_512": "lpd-l-512",
    "lpd_xl_512": "lpd-xl-512",
    "arpg_l": "arpg-l",
    "arpg_xl": "arpg-xl",
    "arpg_xxl": "arpg-xxl",
}
DECODER = RandARConfig(width=32, layers=2, heads=2, codebook_size=24, classes=5, grid=4)
LLAMAGEN = LlamaGenConfig(8, (1, 2), 1, codebook_size=24, codebook_dim=4, z_channels=8, norm_groups=4)
MASKGIT = MaskGITConfig(8, (1, 2), 1, codebook_size=24, codebook_dim=8, norm_groups=4)


def filled(network: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1, generator=generator)
    return network.requires_grad_(False)


def save_raw(path: Path, network: nn.Module, config: bool = True, **changes) -> Path:
    """A file with the network's own keys; a change replaces a tensor, or drops it where it is None."""
    tensors = {**network.state_dict(), **changes}
    metadata = {"config": json.dumps(asdict(network.config))} if config else None
    save_file({key: tensor for key, tensor in tensors.items() if tensor is not None}, path, metadata)
    return path


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
