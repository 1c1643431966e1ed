"""Draw pictures from nothing."""

from torch import Tensor

from ..decoding.canvas import Canvas
from ..decoding.conditions import PromptBatch
from ..decoding.loop import DecodeProgress, OnStep
from ..decoding.options import DecodingOptions
from .fill import fill


def generate(
    model,
    prompts: Tensor | PromptBatch,
    options: DecodingOptions,
    height: int | None = None,
    width: int | None = None,
    overlap: int | None = None,
    on_step: OnStep | None = None,
) -> DecodeProgress:
    """Pictures of `prompts`, class ids `[B]` or `PromptBatch`.

    model: a transformer of any family.
    options: how to decode.
    height, width: of the canvas in cells, by default the model's grid. A larger canvas (a panorama) is drawn by a
        window that slides from its middle outward, see `fill`.
    overlap: see `fill`.
    on_step: sees the canvas after each call.

    Runs on the device of `prompts`. Raises ValueError for a canvas without cells.
    """
    prompts = PromptBatch.of(prompts)
    height, width = (model.config.grid if side is None else side for side in (height, width))
    if height < 1 or width < 1:
        raise ValueError(f"A canvas of {width}×{height} cells (width×height) can't be drawn; the least is 1×1.")
    canvas = Canvas.empty(len(prompts), height, width, prompts.device)
    return fill(model, canvas, prompts, options, overlap, on_step=on_step)
