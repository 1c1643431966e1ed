"""The releases: what their authors published, and what the shapes in a file don't tell (heads, grid, guidance)."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Defaults:
    """How a model is drawn from when the user says nothing.

    Guidance goes from `guidance_start` to `guidance` in a line, or with a `guidance_power` by RAR's course. `boundary`
    is for extrapolation, see `RandAR.extrapolated_table`.
    """

    guidance: float = 1.0
    guidance_start: float = 1.0
    guidance_power: float | None = None
    temperature: float = 1.0
    steps: int = 88
    order: str = "random"
    boundary: int = 2


@dataclass(frozen=True)
class Release:
    """One published file, or a size of a paper that was never published (`file` is None).

    `config` holds the fields of the family's configuration class. `tokenizer` names the release that a decoder was
    trained with. `parameters` counts the weights. `revision` is the commit of the hub repository that a download takes;
    None takes the newest.
    """

    name: str
    family: str
    config: Mapping[str, int | tuple[int, ...]]
    repo: str
    file: str | None
    parameters: int
    tokenizer: str | None = None
    defaults: Defaults | None = None
    revision: str | None = None

    @property
    def url(self) -> str | None:
        """Where a browser finds the file."""
        if self.file is None:
            return None
        return f"https://huggingface.co/{self.repo}/resolve/{self.revision or 'main'}/{self.file}"


def _randar(name: str, file: str | None, tokenizer: str, size: tuple[int, int, int], parameters: int, guidance: float):
    width, layers, heads = size
    codebook = {"llamagen-vq16": 16384, "maskgit-vqgan": 1024}[tokenizer]
    config = {"width": width, "layers": layers, "heads": heads, "codebook_size": codebook, "classes": 1000, "grid": 16}
    return Release(name, "randar", config, "ziqipang/RandAR", file, parameters, tokenizer, Defaults(guidance))


def _rar(name: str, size: tuple[int, int, int], parameters: int, temperature: float, guidance: float, power: float):
    width, layers, mlp_width = size
    config = {"width": width, "layers": layers, "heads": 16, "mlp_width": mlp_width}
    config |= {"codebook_size": 1024, "classes": 1000, "grid": 16}
    defaults = Defaults(guidance, 1.0, power, temperature, steps=256, order="raster")
    file = f"{name.replace('-', '_')}.bin"
    return Release(name, "rar", config, "yucornetto/RAR", file, parameters, "maskgit-vqgan", defaults)


# RandAR: arXiv 2412.01827; RAR: arXiv 2411.00776. Guidance and temperature are those of the authors' evaluations.
RELEASES = (
    _randar(
        "randar-l-llamagen",
        "randar_0.3b_llamagen_360k_bs_1024_lr_0.0004.safetensors",
        "llamagen-vq16",
        (1024, 24, 16),
        342_912_000,
        3.4,
    ),
    _randar(
        "randar-l-maskgit",
        "randar_0.3b_maskgit_360k_bs_1024_lr_0.0004.safetensors",
        "maskgit-vqgan",
        (1024, 24, 16),
        311_454_720,
        4.0,
    ),
    _randar(
        "randar-xl-llamagen",
        "randar_0.7b_llamagen_360k_bs_1024_lr_0.0004.safetensors",
        "llamagen-vq16",
        (1280, 36, 20),
        774_700_800,
        4.0,
    ),
    _randar("randar-xxl-llamagen", None, "llamagen-vq16", (1536, 48, 24), 1_410_974_208, 4.0),
    _rar("rar-b", (768, 24, 3072), 260_923_648, 1.0, 16.0, 2.75),
    _rar("rar-l", (1024, 24, 4096), 461_668_352, 1.02, 15.5, 2.5),
    _rar("rar-xl", (1280, 32, 5120), 955_425_024, 1.02, 6.9, 1.5),
    _rar("rar-xxl", (1408, 40, 6144), 1_498_520_704, 1.02, 8.0, 1.2),
    Release(
        "llamagen-vq16",
        "llamagen",
        {
            "channels": 128,
            "multipliers": (1, 1, 2, 2, 4),
            "res_blocks": 2,
            "codebook_size": 16384,
            "codebook_dim": 8,
            "z_channels": 256,
            "norm_groups": 32,
        },
        "FoundationVision/LlamaGen",
        "vq_ds16_c2i.pt",
        71_883_403,
    ),
    Release(
        "maskgit-vqgan",
        "maskgit",
        {
            "channels": 128,
            "multipliers": (1, 1, 2, 2, 4),
            "res_blocks": 2,
            "codebook_size": 1024,
            "codebook_dim": 256,
            "norm_groups": 32,
        },
        "fun-research/TiTok",
        "maskgit-vqgan-imagenet-f16-256.bin",
        54_515_587,
    ),
)


def find_release(name: str) -> Release:
    """The release of that name. Raises ValueError with the nearest names where there is none."""
    for release in RELEASES:
        if release.name == name:
            return release
    names = [release.name for release in RELEASES]
    near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.4)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    raise ValueError(f"There is no release named '{name}'. {hint}All names: {', '.join(names)}.")
