"""How a task of the core runs inside ComfyUI: weights on the device, memory for the work, progress and interrupt."""

import logging
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from torch import Tensor

from ..randar_core.decoding.conditions import PictureGroup
from ..randar_core.decoding.options import WINDOWS_TOGETHER, DecodingOptions
from ..randar_core.decoding.plan import sizes_for
from ..randar_core.decoding.windows import windows_of
from ..randar_core.tasks.memory import decode_bytes, feature_bytes, score_bytes
from .host_memory import fits_beside, load, split_to_fit
from .loaded_model import LoadedModel
from .progress import Progress

T = TypeVar("T")

TOO_LARGE = (
    "There is not enough memory to draw one picture at a time. Close other programs, draw a smaller picture or fewer "
    "pictures, choose a smaller model, or load this one with weight_dtype bf16."
)


@dataclass(frozen=True)
class Workload:
    """How much a task does: for the memory that it asks for, and for what the log says before a long run.

    pictures: in the batch.
    groups: of pictures that are drawn together, one group after the other.
    cells: that are decoded as one canvas, those of the model's window or of an enlarged model.
    known: how many of them the first call may feed, in any picture or window: those that take most memory.
    passes: what the task does with a picture, one after another: "decode", "score" or "features".
    coded_size: height and width in pixels of what the tokenizer encodes, and decodes where a picture is drawn. None: it
        isn't used.
    canvas_cells: of a picture that is drawn in several windows; None: a picture is one window.
    windows: that draw such a picture, at most. As many as fit run together; nothing is unloaded for more than one of
        each picture.
    crops: that draw a picture in place of windows, at most.
    low_cells: of a smaller version that is drawn first.
    shared_bytes: that all pictures together take while the networks work.
    pixel_bytes: that they take while none does, as where new pixels meet old ones.
    """

    pictures: int
    groups: Sequence[PictureGroup]
    cells: int
    known: Collection[int] = (0,)
    passes: tuple[str, ...] = ("decode",)
    coded_size: tuple[int, int] | None = None
    canvas_cells: int | None = None
    windows: int = 1
    crops: int = 0
    low_cells: int = 0
    shared_bytes: int = 0
    pixel_bytes: int = 0

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
        windows = windows_of(canvas[None], model.grid, overlap)
        known = {int(window.known.sum()) for window in windows} or {0}
        sizes = {"cells": model.grid**2, "canvas_cells": canvas.numel(), "known": known}
        return cls(**sizes | {"windows": rounds * len(windows)} | more)

    def cost(self, model: LoadedModel, options: DecodingOptions) -> str | None:
        """What a long run takes, in words. None where a picture is one window of the model's own size.

        The calls are an upper bound: windows and crops that run together share theirs, and one may know more cells than
        another.
        """
        own, parts = model.grid**2, max(self.crops, self.windows)
        if parts <= 1 and self.cells <= own:
            return None
        calls = parts * len(sizes_for(model.transformer, options, self.cells, min(self.known)))
        if self.crops > 1:
            drawn = f"{self.crops} crops of {self.cells} cells"
        elif self.windows > 1:
            drawn = f"{self.windows} windows for {self.canvas_cells} cells"
        else:
            drawn = f"{self.cells} cells at once, {self.cells // own} times the model's own"
        if self.low_cells:
            calls += len(sizes_for(model.transformer, options, self.low_cells))
        return f"{drawn}, up to {calls} calls of the model, for each picture of a batch of {self.pictures}"


def run(
    model: LoadedModel, workload: Workload, options: DecodingOptions, task: Callable[[DecodingOptions, Progress], T]
) -> T:
    """Run `task` on the model's device, with the weights that it needs loaded and memory for the `workload`.

    A batch that doesn't fit runs in parts. Raises MemoryError, in a user's words, where one picture doesn't fit.
    """
    if (cost := workload.cost(model, options)) is not None:
        logging.info("RandAR: %s. An interrupt ends the run within one call.", cost)
    progress = Progress(model.vae)
    alone = [replace(group, pictures=1) for group in workload.groups]
    each, needed = (
        max((pass_bytes(model, options, workload, group) for group in groups), default=0)
        for groups in (alone, workload.groups)
    )
    patchers = [model.patcher]
    if workload.coded_size is not None:
        patchers.append(model.vae.patcher)
        if model.vae.device == model.device:  # with --cpu-vae it takes main memory
            each = max(each, coding_bytes(model, workload, 1))
            needed = max(needed, coding_bytes(model, workload, workload.pictures))
    needed = max(needed + workload.shared_bytes, workload.pixel_bytes)
    if progress.preview is not None and progress.preview.wants_decoder:
        preview_bytes = model.vae.decode_bytes(*workload.preview_size(model.vae.factor))
        if len(patchers) == 1 and fits_beside(model.vae.patcher, patchers, needed + preview_bytes):
            patchers.append(model.vae.patcher)
        progress.preview.may_decode = model.vae.patcher in patchers
    load(patchers, needed)
    return split_to_fit(
        lambda size: task(replace(options, batch_size=size), progress),
        max(workload.pictures, WINDOWS_TOGETHER) if workload.canvas_cells else workload.pictures,
        each,
        model.patcher,
        TOO_LARGE,
        workload.shared_bytes,
    )


def pass_bytes(model: LoadedModel, options: DecodingOptions, workload: Workload, group: PictureGroup) -> int:
    """Bytes that the transformer takes for the pictures of `group`, in the pass that takes most."""
    transformer, cells = model.transformer, workload.cells
    group = replace(group, conditions=min(group.conditions, group.pictures * group.rows))
    by_pass = {
        "decode": lambda: max(
            # Known cells are fed, others are asked for: either may take more.
            decode_bytes(transformer, options, group, cells, known, model.device)
            for known in workload.known
        ),
        "score": lambda: score_bytes(transformer, group, cells),
        "features": lambda: feature_bytes(transformer, group, cells),
    }
    return max(by_pass[each]() for each in workload.passes)


def coding_bytes(model: LoadedModel, workload: Workload, pictures: int) -> int:
    """Bytes that the tokenizer takes for so many `pictures` of a workload."""
    encoding = model.vae.encode_bytes(*workload.coded_size, pictures)
    decoding = model.vae.decode_bytes(*workload.coded_size, pictures) if "decode" in workload.passes else 0
    return max(encoding, decoding)
