"""Draw the unknown cells of a canvas of any size."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..decoding.canvas import Canvas
from ..decoding.conditions import PromptBatch
from ..decoding.loop import DecodeProgress, OnStep
from ..decoding.options import DecodingOptions
from ..decoding.orders import ORDERS
from ..decoding.windows import decode_windows, default_overlap, grid_padding, mapped, window_orders, windows_of


@torch.no_grad()
def fill(
    model,
    canvas: Canvas,
    prompts: Tensor | PromptBatch,
    options: DecodingOptions,
    overlap: int | None = None,
    pass_index: int = 0,
    on_step: OnStep | None = None,
) -> DecodeProgress:
    """Draw every unknown cell of `canvas` `[B, h, w]`, of any size.

    model: a transformer of any family.
    prompts: class ids `[B]` or `PromptBatch`; regions cover the canvas.
    options: steps are those of one window.
    overlap: cells by which a window overlaps what was drawn before; None: `windows.OVERLAP` of its side.
    pass_index: see `make_plan`.
    on_step: sees the whole canvas after each call.

    A window of the model's grid starts on the known cells, or in the middle of an empty canvas, and slides outward,
    sides before corners. Of what it overlaps it draws the outermost cells again (see `windows.window_parts`). A canvas
    narrower or lower than the window is drawn as the middle of a larger one. Raises ValueError for an overlap outside
    of 0 … grid − 1.
    """
    grid = model.config.grid
    overlap = default_overlap(grid) if overlap is None else overlap
    if not 0 <= overlap < grid:
        raise ValueError(
            f"The overlap is {overlap} cells; the model's window is {grid} cells wide, so it must be 0 to {grid - 1}."
        )
    height, width = canvas.ids.shape[1:]
    prompts = PromptBatch.of(prompts).repeated(canvas.batch)
    padding = grid_padding(height, width, grid)
    rows, columns = slice(padding[2], padding[2] + height), slice(padding[0], padding[0] + width)
    order = ORDERS[model.traits.order] if options.order is None else options.order
    order_of = window_orders(order, canvas.batch, height, width, padding)
    padded = Canvas(F.pad(canvas.ids, padding), F.pad(canvas.known, padding))
    windows = windows_of(canvas.known, grid, overlap)
    cell_conditions = [item.padded(padding) for item in prompts.on_cells(height, width)]

    def cropped(progress: DecodeProgress) -> DecodeProgress:
        ids, known, confidence = (t[:, rows, columns] for t in (progress.ids, progress.known, progress.confidence))
        return replace(progress, ids=ids, known=known, confidence=confidence)

    return cropped(
        decode_windows(model, padded, windows, cell_conditions, options, order_of, pass_index, mapped(on_step, cropped))
    )
