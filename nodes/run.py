"""How a task of the core runs inside ComfyUI: weights on the device, memory for the work, progress and interrupt."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import comfy.model_management
from torch import Tensor

from ..randar_core.decoding.options import WINDOWS_TOGETHER, DecodingOptions
from ..randar_core.decoding.plan import sizes_for
from ..randar_core.decoding.windows import windows_of
from ..randar_core.tasks.memory import batch_bytes
from .host_memory import fits_beside, split_to_fit
from .loaded_model import LoadedModel
from .progress import Progress

T = TypeVar("T")


@dataclass(frozen=True)
class Workload:
    """How much a task does: for the memory that it asks for, and for what the log says before a long run.

    pictures: in the batch.
    rows: of a picture, one for each of its conditions and contexts.
    cells: that are decoded as one canvas, those of the model's window or of an enlarged model.
    known: cells among them that the first call feeds.
    scored: whether a scoring pass reads the picture first.
    decoded_size: height and width in pixels of what the tokenizer encodes and decodes; None: it isn't used.
    canvas_cells: of a picture that is drawn in several windows; None: a picture is one window.
    windows: that draw such a picture, at most. As many as fit run together; nothing is unloaded for more than one of
        each picture.
    shared_bytes: that the task takes for all pictures together.
    conditions: that are different, of all rows of all pictures; None: every row has its own.
    """

    pictures: int
    rows: int
    cells: int
    known: int = 0
    scored: bool = False
    decoded_size: tuple[int, int] | None = None
    canvas_cells: int | None = None
    windows: int = 1
    shared_bytes: int = 0
    conditions: int | None = None

    def preview_size(self, factor: int) -> tuple[int, int]:
        """Height and width in pixels of a square with as many cells of `factor` pixels as a picture has."""
        side = math.isqrt(self.canvas_cells or self.cells) + 1
        return side * factor, side * factor

    @classmethod
    def sliding(
        cls, model: LoadedModel, canvas: Tensor, overlap: int | None = None, rounds: int = 1, **more
    ) -> "Workload":
        """Of pictures that windows of the model's grid draw.

        canvas: its known cells, `[h, w]` bool.
        overlap: of the windows, in cells, see `windows_of`.
        rounds: how often they draw it.
        more: other fields.
        """
        windows = rounds * len(windows_of(canvas[None], model.grid, overlap))
        return cls(cells=model.grid**2, canvas_cells=canvas.numel(), windows=windows, **more)

    def cost(self, calls_of_window: int) -> str:
        """The cost in words. Windows that run together share their calls, so the calls are an upper bound."""
        calls = self.windows * calls_of_window
        return (
            f"{self.windows} windows for {self.canvas_cells} cells, up to {calls} calls of the model, for each picture "
            f"of a batch of {self.pictures}"
        )


def run(
    model: LoadedModel, workload: Workload, options: DecodingOptions, task: Callable[[DecodingOptions, Progress], T]
) -> T:
    """Run `task` on the model's device, with the weights that it needs loaded and memory for the `workload`.

    A batch that doesn't fit runs in parts. Raises MemoryError, in a user's words, where one picture doesn't fit.
    """
    if workload.windows > 1:
        calls = len(sizes_for(model.transformer, options, workload.cells))
        logging.info("RandAR: %s. An interrupt ends the run within one call.", workload.cost(calls))
    progress = Progress(model.vae)
    bytes_of = partial(
        batch_bytes,
        model.transformer,
        options,
        workload.rows,
        workload.cells,
        known=workload.known,
        scored=workload.scored,
        device=model.device,
    )
    each, needed = bytes_of(), bytes_of(pictures=workload.pictures, conditions=workload.conditions)
    patchers = [model.patcher]
    if workload.decoded_size is not None:
        patchers.append(model.vae.patcher)
        if model.vae.device == model.device:  # with --cpu-vae it takes main memory
            size = workload.decoded_size
            coded = max(model.vae.encode_bytes(*size), model.vae.decode_bytes(*size))
            each, needed = max(each, coded), max(needed, workload.pictures * coded)
    needed += workload.shared_bytes
    if progress.preview is not None and progress.preview.wants_decoder:
        preview_bytes = model.vae.decode_bytes(*workload.preview_size(model.vae.factor))
        if len(patchers) == 1 and fits_beside(model.vae.patcher, patchers, needed + preview_bytes):
            patchers.append(model.vae.patcher)
        progress.preview.may_decode = model.vae.patcher in patchers
    comfy.model_management.load_models_gpu(patchers, memory_required=needed, force_full_load=True)
    return split_to_fit(
        lambda size: task(replace(options, batch_size=size), progress),
        max(workload.pictures, WINDOWS_TOGETHER) if workload.canvas_cells else workload.pictures,
        each,
        model.patcher,
        "There is not enough memory to draw one picture at a time. Close other programs, draw a smaller picture or "
        "fewer pictures, choose a smaller model, or load this one with weight_dtype bf16.",
        workload.shared_bytes,
    )
