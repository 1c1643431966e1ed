"""Draw pictures from nothing."""

from torch import Tensor

from ..decoding.canvas import Canvas
from ..decoding.loop import Decoded, OnCall
from ..decoding.options import DecodingOptions
from ..decoding.windows import fill


def generate(
    model,
    classes: Tensor,
    options: DecodingOptions,
    height: int | None = None,
    width: int | None = None,
    overlap: int | None = None,
    on_call: OnCall | None = None,
) -> Decoded:
    """Pictures of `classes` `[B]`, `height` × `width` cells, by default the grid that the model was trained on.

    A larger canvas (a panorama) is drawn by a window that slides from its middle outward, as `fill` says. Runs where
    `classes` lie. Raises ValueError for a canvas without cells.
    """
    height, width = (model.config.grid if side is None else side for side in (height, width))
    if height < 1 or width < 1:
        raise ValueError(f"A canvas of {width}×{height} cells (width×height) can't be drawn; the least is 1×1.")
    canvas = Canvas.empty(len(classes), height, width, classes.device)
    return fill(model, canvas, classes, options, overlap, on_call=on_call)
