"""The releases: what their authors published, and what the shapes in a file don't tell (heads, grid, guidance)."""

import difflib
import math
from dataclasses import dataclass

from ..decoding.orders import ORDERS
from ..models.arpg import ARPGConfig
from ..models.llamagen import LlamaGenConfig
from ..models.lpd import LPDConfig
from ..models.maskgit import MaskGITConfig
from ..models.randar import RandARConfig
from ..models.rar import RARConfig


@dataclass(frozen=True)
class Defaults:
    """How a model draws when the user says nothing. Raises ValueError for a value that nothing can be drawn with.

    guidance: the guidance weight at the end.
    guidance_start: the weight at the start of the linear schedule, which leads to `guidance`.
    guidance_power: the power of RAR's schedule, which starts at 1; None: the linear schedule.
    temperature: of sampling.
    steps: calls for a whole picture.
    order: a key of `decoding.orders.ORDERS`.
    repulsion: of the order 'proximity', see `decoding.orders.Proximity`; None: its own.
    boundary: for extrapolation, see `models.rope.extrapolated_table`.
    """

    guidance: float = 1.0
    guidance_start: float = 1.0
    guidance_power: float | None = None
    temperature: float = 1.0
    steps: int = 88
    order: str = "random"
    boundary: int = 2
    repulsion: int | None = None

    def __post_init__(self):
        power = self.guidance_power
        valid = {
            "guidance": is_number(self.guidance),
            "guidance_start": is_number(self.guidance_start),
            "guidance_power": power is None or (is_number(power) and power >= 0),
            "temperature": is_number(self.temperature) and self.temperature > 0,
            "steps": type(self.steps) is int and self.steps >= 1,
            "order": isinstance(self.order, str),
            "boundary": type(self.boundary) is int and self.boundary >= 0,
            "repulsion": self.repulsion is None or (type(self.repulsion) is int and self.repulsion >= 0),
        }
        if wrong := [f"{name} is {getattr(self, name)!r}" for name, fits in valid.items() if not fits]:
            raise ValueError(", ".join(wrong))
        if self.order not in ORDERS:
            raise ValueError(f"the order is '{self.order}'; known: {', '.join(ORDERS)}")


def is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


@dataclass(frozen=True)
class Release:
    """One published file, or a size of a paper that was never published.

    name: what a user calls it.
    config: the configuration of the network; its class says the family.
    repo: the hub repository.
    file: the file in it; None: never published.
    parameters: the number of weights.
    tokenizer: the name of the release that a transformer was trained with.
    defaults: how a transformer draws.
    revision: the commit of the hub repository that a download takes; None: the newest.
    lookalikes: files with the same keys and shapes and other weights. Shapes don't tell them from this release.
    """

    name: str
    config: RandARConfig | RARConfig | LPDConfig | ARPGConfig | LlamaGenConfig | MaskGITConfig
    repo: str
    file: str | None
    parameters: int
    tokenizer: str | None = None
    defaults: Defaults | None = None
    revision: str | None = None
    lookalikes: tuple[str, ...] = ()

    @property
    def url(self) -> str | None:
        """Where a browser finds the file."""
        if self.file is None:
            return None
        return f"https://huggingface.co/{self.repo}/resolve/{self.revision or 'main'}/{self.file}"


LLAMAGEN = Release(
    "llamagen-vq16",
    LlamaGenConfig(),
    "FoundationVision/LlamaGen",
    "vq_ds16_c2i.pt",
    71_883_403,
    lookalikes=("vq_ds16_t2i.pt",),  # trained for text-to-image: another codebook
)
MASKGIT = Release(
    "maskgit-vqgan",
    MaskGITConfig(),
    "fun-research/TiTok",
    "maskgit-vqgan-imagenet-f16-256.bin",
    54_515_587,
)


def randar(
    name: str, file: str | None, tokenizer: Release, size: tuple[int, int, int], parameters: int, guidance: float
) -> Release:
    """A release of RandAR.

    name, file: of the release; None: no file of its own.
    tokenizer: the release of the tokenizer that it was trained with.
    size: width, layers, heads.
    parameters: their number.
    guidance: of the authors' evaluation.
    """
    config = RandARConfig(*size, tokenizer.config.codebook_size)
    return Release(name, config, "ziqipang/RandAR", file, parameters, tokenizer.name, Defaults(guidance))


def rar(
    name: str, size: tuple[int, int, int, int], parameters: int, temperature: float, guidance: float, power: float
) -> Release:
    """A release of RAR.

    name: of the release; its file is named after it.
    size: width, layers, heads, width of the MLP.
    parameters: their number.
    temperature, guidance, power: of the authors' evaluation; `power` is that of the guidance schedule.
    """
    defaults = Defaults(guidance, 1.0, power, temperature, steps=256, order="raster")
    file = f"{name.replace('-', '_')}.bin"
    *shape, mlp_width = size
    config = RARConfig(*shape, mlp_width=mlp_width)
    return Release(name, config, "yucornetto/RAR", file, parameters, MASKGIT.name, defaults)


def lpd(
    name: str,
    size: tuple[int, int, int],
    grid: int,
    parameters: int,
    steps: int,
    guidance: float,
    repulsion: int,
) -> Release:
    """A release of LPD.

    name: of the release; its file and its repository are named after it.
    size: width, layers, heads.
    grid: cells of a side of its pictures.
    parameters: their number.
    steps, guidance, repulsion: of the authors' evaluation.
    """
    config = LPDConfig(*size, LLAMAGEN.config.codebook_size, grid=grid)
    defaults = Defaults(guidance, steps=steps, order="proximity", repulsion=repulsion)
    file = f"{name.replace('-', '_')}.pth"
    return Release(name, config, f"mit-han-lab/{name.replace('-', '_')}", file, parameters, LLAMAGEN.name, defaults)


def arpg(name: str, file: str, size: tuple[int, int, int], parameters: int, guidance: float) -> Release:
    config = ARPGConfig(*size, LLAMAGEN.config.codebook_size)
    return Release(name, config, "hp-l33/ARPG", file, parameters, LLAMAGEN.name, Defaults(guidance, steps=64))


# RandAR: arXiv 2412.01827, by width, layers, heads. RAR: arXiv 2411.00776, by width, layers, heads, width of the MLP.
# LPD: arXiv 2507.01957, by width, layers, heads; with the fewest calls that its authors evaluate.
# ARPG: arXiv 2503.10568, by width, layers of both stacks, heads.
# Guidance and temperature are those of the authors' evaluations.
RELEASES = (
    randar(
        "randar-l-llamagen",
        "randar_0.3b_llamagen_360k_bs_1024_lr_0.0004.safetensors",
        LLAMAGEN,
        (1024, 24, 16),
        342_912_000,
        3.4,
    ),
    randar(
        "randar-l-maskgit",
        "randar_0.3b_maskgit_360k_bs_1024_lr_0.0004.safetensors",
        MASKGIT,
        (1024, 24, 16),
        311_454_720,
        4.0,
    ),
    randar(
        "randar-xl-llamagen",
        "randar_0.7b_llamagen_360k_bs_1024_lr_0.0004.safetensors",
        LLAMAGEN,
        (1280, 36, 20),
        774_700_800,
        4.0,
    ),
    randar("randar-xxl-llamagen", None, LLAMAGEN, (1536, 48, 24), 1_410_974_208, 4.0),
    rar("rar-b", (768, 24, 16, 3072), 260_923_648, 1.0, 16.0, 2.75),
    rar("rar-l", (1024, 24, 16, 4096), 461_668_352, 1.02, 15.5, 2.5),
    rar("rar-xl", (1280, 32, 16, 5120), 955_425_024, 1.02, 6.9, 1.5),
    rar("rar-xxl", (1408, 40, 16, 6144), 1_498_520_704, 1.02, 8.0, 1.2),
    lpd("lpd-l-256", (1024, 24, 16), 16, 337_157_120, 20, 4.8, 2),
    lpd("lpd-xl-256", (1280, 36, 20), 16, 751_947_520, 20, 4.9, 2),
    lpd("lpd-xxl-256", (1536, 48, 24), 16, 1_412_184_576, 20, 5.9, 3),
    lpd("lpd-l-512", (1024, 24, 16), 32, 337_943_552, 48, 7.3, 4),
    lpd("lpd-xl-512", (1280, 36, 20), 32, 752_930_560, 48, 6.0, 4),
    arpg("arpg-l", "arpg_300m.pt", (1024, 24, 16), 319_845_376, 5.0),
    arpg("arpg-xl", "arpg_700m.pt", (1280, 36, 20), 718_997_760, 6.0),
    arpg("arpg-xxl", "arpg_1b.pt", (1536, 48, 24), 1_302_449_664, 7.5),
    LLAMAGEN,
    MASKGIT,
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
