"""What every node that draws shares: its widgets, and how a task of the core is run inside ComfyUI."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import comfy.model_management
import torch
from comfy_api.latest import io
from einops import rearrange
from torch import Tensor

from ..randar_core.decoding.guidance import class_guidance
from ..randar_core.decoding.loop import OnCall
from ..randar_core.decoding.options import WINDOWS_TOGETHER, DecodingOptions
from ..randar_core.decoding.orders import ORDERS
from ..randar_core.decoding.sampling import Sampling
from ..randar_core.tasks.memory import picture_bytes
from .classes import ChosenClass
from .memory import split_to_fit
from .model import RandARModel
from .progress import Progress
from .sockets import RandARGuidance, RandAROrder
from .vae import TokenizerVAE

T = TypeVar("T")


@dataclass(frozen=True)
class LoadedTokenizer:
    """The tokenizer as the core's tasks use it, over a VAE that `run` has loaded. It loads nothing by itself: that
    might take the decoder's weights away while they are in use.
    """

    vae: TokenizerVAE

    @property
    def factor(self) -> int:
        return self.vae.factor

    def encode(self, pixels: Tensor) -> Tensor:
        return self.vae.codebook.nearest(self.vae.pre_quant_on_device(pixels).cpu())

    def decode(self, ids: Tensor) -> Tensor:
        return self.vae.decode_on_device(self.vae.codebook.vectors(ids.cpu()))


def common_widgets(cfg: float = 4.0, cfg_course: str = "on the model's own course") -> list[io.Input]:
    """Seed, steps, cfg and how a token is drawn, in KSampler's order."""
    return [
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=0xFFFFFFFFFFFFFFFF,
            control_after_generate=True,
            tooltip="The random seed. What is random in a picture comes from it and the picture's place in the batch.",
        ),
        io.Int.Input(
            "steps",
            default=88,
            min=1,
            max=10000,
            tooltip="Calls of the model for a whole picture. Fewer are faster and draw more tokens at a time: 88 is "
            "the paper's choice, 32 a draft, 256 one token at a time. RAR models always draw one at a time.",
        ),
        io.Float.Input(
            "cfg",
            default=cfg,
            min=0.0,
            max=100.0,
            step=0.1,
            round=0.01,
            tooltip=f"The guidance that a picture ends with, reached {cfg_course}. 1 is none. Released with: RandAR-L "
            "3.4 (LlamaGen) or 4 (MaskGIT), XL 4; RAR-B 16, L 15.5, XL 6.9, XXL 8.",
        ),
        io.Float.Input(
            "temperature",
            default=1.0,
            min=0.01,
            max=10.0,
            step=0.01,
            round=0.001,
            advanced=True,
            tooltip="Below 1 likely tokens become likelier, above 1 rare ones do. Released with: RAR-L, XL and XXL "
            "1.02, the built-in model 0.8, all others 1.",
        ),
        io.Int.Input(
            "top_k",
            default=0,
            min=0,
            max=1000000,
            advanced=True,
            tooltip="Draw from this many of the likeliest tokens only. 0: from all.",
        ),
        io.Float.Input(
            "top_p",
            default=1.0,
            min=0.01,
            max=1.0,
            step=0.01,
            round=0.001,
            advanced=True,
            tooltip="Draw from the likeliest tokens that together have this probability. 1: from all.",
        ),
    ]


COMMON_SOCKETS = (
    RandAROrder.Input("order", optional=True, tooltip="Which cells are drawn first. By default the model's own order."),
    RandARGuidance.Input("guidance", optional=True, tooltip="The course of the guidance, in place of cfg."),
)


def options_for(
    model: RandARModel,
    pictures: Sequence[int] | None,
    seed: int,
    steps: int,
    cfg: float,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    order=None,
    guidance=None,
) -> DecodingOptions:
    """What the widgets and sockets above say, for a task."""
    return DecodingOptions(
        guidance=model.course_to(cfg) if guidance is None else class_guidance(guidance),
        steps=steps,
        seed=seed,
        sampling=Sampling(temperature, top_k, top_p),
        order=ORDERS[model.defaults.order] if order is None else order,
        pictures=pictures,
    )


def class_ids(model: RandARModel, classes: Sequence[ChosenClass], count: int) -> Tensor:
    """Class ids `[count]` on the model's device: `classes` over and over. Raises ValueError for one it doesn't know."""
    ids = [chosen.id_for(model.class_names) for chosen in classes]
    return torch.tensor([ids[place % len(ids)] for place in range(count)], device=model.device)


def latent_of(model: RandARModel, ids: Tensor) -> dict:
    return {"samples": model.vae.vectors(ids)}


def pixels_of(image: Tensor) -> Tensor:
    """An IMAGE [B, H, W, C] as pixels [B, 3 or 4, H, W]."""
    image = image if image.shape[3] in (3, 4) else image[..., :1].expand(-1, -1, -1, 3)
    return rearrange(image, "b h w c -> b c h w")


def to_host(tensor: Tensor) -> Tensor:
    """Where ComfyUI keeps what goes from node to node, in float32."""
    return tensor.to(comfy.model_management.intermediate_device(), torch.float32)


def mask_of(model: RandARModel, confidence: Tensor) -> Tensor:
    """A value a cell `[B, h, w]` as a MASK of the picture's size."""
    return to_host(confidence).repeat_interleave(model.vae.factor, 1).repeat_interleave(model.vae.factor, 2)


def run(
    model: RandARModel,
    task: Callable[[DecodingOptions, OnCall], T],
    options: DecodingOptions,
    batch: int,
    cells: int | None = None,
    known: int = 0,
    scored: bool = False,
    rows: int | None = None,
    size: tuple[int, int] | None = None,
    windowed: bool = False,
    whole: int = 0,
) -> T:
    """Run `task` on the model's device, with its weights there and memory for `batch` pictures of `cells` cells.

    `cells`, `known`, `scored` and `rows` are those of `picture_bytes`; by default the cells of the model's own picture
    and the rows of the options' guidance. A task that decodes pictures of `size`, (height, width),
    finds the tokenizer loaded too, and memory for that. One that draws a picture in several windows (`windowed`) draws
    as many of them together as happen to fit: nothing is unloaded for more than one of each picture. `whole` are the
    bytes that the task takes for all pictures, however many are drawn at a time.
    """
    progress = Progress(model.vae)
    rows = rows or len(options.guidance.rows)
    each = picture_bytes(model.transformer, options, rows, cells or model.grid**2, known, scored)
    patchers = [model.patcher]
    if size is not None:
        each = max(each, model.vae.decode_bytes(*size))
        patchers.append(model.vae.patcher)
    comfy.model_management.load_models_gpu(patchers, memory_required=each * batch + whole, force_full_load=True)
    return split_to_fit(
        lambda size: task(replace(options, batch=size, on_scored=progress.scored), progress),
        max(batch, WINDOWS_TOGETHER) if windowed else batch,
        each,
        model.patcher,
        "There is not enough memory to draw even one picture at a time. Close other programs, draw a smaller picture "
        "or fewer pictures, choose a smaller model, or load this one with weight_dtype bf16.",
        whole,
    )
