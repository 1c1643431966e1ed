"""Confidence of a picture's tokens, and the cells to draw again because of it."""

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..decoding.canvas import Canvas
from ..decoding.conditions import PromptBatch
from ..decoding.loop import score
from ..decoding.options import DecodingOptions
from ..decoding.orders import known_first
from ..decoding.seeding import generator_for

OnScore = Callable[[int, int], None]  # windows that are scored, and windows in all; it may raise to end the task


@torch.no_grad()
def score_confidence(
    model,
    canvas: Canvas,
    prompts: Tensor | PromptBatch,
    options: DecodingOptions,
    pass_index: int = 0,
    outside: Tensor | None = None,
    on_score: OnScore | None = None,
) -> Tensor:
    """Confidence of every token of `canvas`, `[B, h, w]` on its device. All of its ids must be valid.

    model: a transformer of any family.
    canvas: `[B, h, w]`; the cells that it knows are read before the others.
    prompts: class ids `[B]` or `PromptBatch`.
    options: guidance, seed, batch index and batch size.
    pass_index: which pass over the same pictures this is; each reads in another order.
    outside: `[B, h, w]` bool, cells that show nothing: they are read last, so that no score depends on their ids.
    on_score: hears of every window that is scored. It may raise to end the task: half a score can't be used.

    It is the mean of two passes, in a random order and in its reverse, so that no cell scores low for being read early,
    with little context. A canvas of another size than the model's grid is scored window by window; a smaller one is
    padded with cells that show nothing.
    """
    (height, width), grid, device = canvas.ids.shape[1:], model.config.grid, canvas.ids.device
    prompts = PromptBatch.of(prompts).repeated(canvas.batch)
    padding = (0, max(0, grid - width), 0, max(0, grid - height))
    shown = torch.ones_like(canvas.known) if outside is None else ~outside
    canvas, shown = Canvas(F.pad(canvas.ids, padding), F.pad(canvas.known, padding)), F.pad(shown, padding)
    cell_conditions = [item.padded(padding) for item in prompts.on_cells(height, width)]
    confidence = torch.zeros(canvas.ids.shape, dtype=torch.float32, device=device)
    indices = options.indices(canvas.batch)
    down, across = (tiles(length, grid) for length in canvas.ids.shape[1:])
    limit, scored = options.batch_size or canvas.batch, 0
    for rows in down:
        for columns in across:
            order = torch.stack(
                [
                    torch.randperm(
                        grid**2,
                        generator=generator_for(options.seed, "score", i, pass_index, rows.start, columns.start),
                        dtype=torch.long,
                        device="cpu",
                    )
                    for i in indices
                ]
            ).to(device)
            for start in range(0, canvas.batch, limit):
                chunk = slice(start, start + limit)
                part = Canvas(canvas.ids[chunk, rows, columns], canvas.known[chunk, rows, columns])
                part_shown = shown[chunk, rows, columns].flatten(1)
                part_conditions = [item.crop(rows, columns) for item in cell_conditions[chunk]]
                forth, back = (
                    score(
                        model,
                        part,
                        known_first(known_first(direction[chunk], part.known.flatten(1)), part_shown),
                        part_conditions,
                        options,
                    )
                    for direction in (order, order.flip(1))
                )
                confidence[chunk, rows, columns] = (forth + back) / 2
                scored += part.batch
                if on_score is not None:
                    on_score(scored, len(down) * len(across) * canvas.batch)
    return confidence[:, :height, :width]


def tiles(length: int, grid: int) -> list[slice]:
    """Windows of `grid` cells along an axis, of which the last ends where the axis ends."""
    starts = [min(start, length - grid) for start in range(0, length, grid)]
    return [slice(start, start + grid) for start in starts]


def remask_least_confident(
    canvas: Canvas, confidence: Tensor, share: float | None = None, below: float | None = None
) -> Canvas:
    """Of the cells that `canvas` doesn't know, make those of high `confidence` `[B, h, w]` known, with their ids.

    What stays unknown is the least confident `share` of them (at least one cell where it isn't 0), or those `below` a
    probability. Raises ValueError unless one of the two is given, in 0 … 1.
    """
    if (share is None) == (below is None):
        raise ValueError("Say either which share of the cells to draw again or below which probability, not both.")
    name, value = ("share", share) if below is None else ("probability", below)
    if not 0 <= value <= 1:
        raise ValueError(f"The {name} is {value}; it must lie between 0 and 1.")
    if below is not None:
        return replace(canvas, known=canvas.known | (confidence >= below))
    open_cells = ~canvas.known.flatten(1)
    counts = open_cells.sum(1, keepdim=True)
    remasked = torch.minimum((counts * share).round().long().clamp(min=int(share > 0)), counts)
    rank = confidence.flatten(1).masked_fill(~open_cells, torch.inf).argsort(dim=1, stable=True).argsort(1)
    return replace(canvas, known=(rank >= remasked).view(canvas.known.shape))
