"""What every node that draws shares: its widgets, and how a task of the core is run inside ComfyUI."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import comfy.model_management
import torch
from comfy_api.latest import io
from torch import Tensor

from ..randar_core.decoding.guidance import class_guidance
from ..randar_core.decoding.loop import OnCall
from ..randar_core.decoding.orders import ORDERS
from ..randar_core.decoding.sampling import Sampling
from ..randar_core.tasks.options import DecodingOptions
from .classes import ChosenClass
from .memory import picture_bytes, split_to_fit
from .model import RandARModel
from .progress import Progress
from .types import RandARGuidance, RandAROrder

T = TypeVar("T")

COMMON_WIDGETS = (
    io.Int.Input(
        "seed",
        default=0,
        min=0,
        max=0xFFFFFFFFFFFFFFFF,
        control_after_generate=True,
        tooltip="The random seed. A picture depends on it and on its place in the batch, on nothing else beside it.",
    ),
    io.Int.Input(
        "steps",
        default=88,
        min=1,
        max=10000,
        tooltip="Calls of the model for a whole picture. Fewer are faster and draw more tokens at a time: 88 is the "
        "paper's choice, 32 a draft, 256 one token at a time. Models of the RAR family always draw one at a time.",
    ),
    io.Float.Input(
        "cfg",
        default=4.0,
        min=0.0,
        max=100.0,
        step=0.1,
        round=0.01,
        tooltip="The guidance that a picture ends with; it rises to that while the picture fills, on the model's own "
        "course. 1 is none. Released with: RandAR-L 3.4 (LlamaGen) or 4 (MaskGIT), XL 4; RAR-B 16, L 15.5, XL 6.9, "
        "XXL 8.",
    ),
    io.Float.Input(
        "temperature",
        default=1.0,
        min=0.01,
        max=10.0,
        step=0.01,
        round=0.001,
        advanced=True,
        tooltip="Below 1 likely tokens become likelier, above 1 rare ones do.",
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
)
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


def run(
    model: RandARModel,
    task: Callable[[DecodingOptions, OnCall], T],
    options: DecodingOptions,
    batch: int,
    cells: int | None = None,
    known: int = 0,
    scored: bool = False,
) -> T:
    """Run `task` on the model's device, with its weights there and memory for `batch` pictures of `cells` cells.

    `cells`, `known` and `scored` are those of `picture_bytes`; `cells` is the model's own picture by default.
    """
    progress = Progress(model.vae)
    each = picture_bytes(model.decoder, options, cells or model.grid**2, known, scored)
    comfy.model_management.load_models_gpu([model.patcher], memory_required=each * batch, force_full_load=True)
    return split_to_fit(
        lambda size: task(replace(options, batch=size), progress),
        batch,
        each,
        model.device,
        "There is not enough memory to draw even one picture at a time. Close other programs, choose a smaller "
        "model, or load this one with weight_dtype bf16.",
    )
