"""How sure a model is of a picture's tokens: the numbers, what to forget by them, and a picture of them."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..decoding.canvas import Canvas
from ..decoding.loop import Setting, score
from ..decoding.options import DecodingOptions, check_batch
from ..decoding.orders import known_first
from ..decoding.seeding import stream


@torch.no_grad()
def sureness(
    model, canvas: Canvas, classes: Tensor, options: DecodingOptions, round: int = 0, blank: Tensor | None = None
) -> Tensor:
    """How sure the model is of every token of `canvas` `[B, h, w]`, all of whose ids must mean something: `[B, h, w]`.

    The mean of two scoring passes, in a random order and in its reverse, so that no cell stands back for being read
    early, with little context. The cells that the canvas knows are read before the others, those that are `blank`
    (`[B, h, w]` bool: they show nothing, and no score rests on their ids) after all others. A canvas of another size
    than the model's grid is scored window by window; beside a smaller one the window is blank.
    """
    check_batch(classes, canvas.batch, options)
    (height, width), grid, device = canvas.ids.shape[1:], model.config.grid, canvas.ids.device
    padding = (0, max(0, grid - width), 0, max(0, grid - height))
    shown = torch.ones_like(canvas.known) if blank is None else ~blank
    canvas, shown = Canvas(F.pad(canvas.ids, padding), F.pad(canvas.known, padding)), F.pad(shown, padding)
    sure = torch.zeros(canvas.ids.shape, device=device)
    setting = Setting(classes.to(device), options.guidance, options.sampling)
    limit = options.batch or canvas.batch
    down, along = (tiles(length, grid) for length in canvas.ids.shape[1:])
    scored = 0
    for rows in down:
        for columns in along:
            part = Canvas(canvas.ids[:, rows, columns], canvas.known[:, rows, columns])
            not_blank = shown[:, rows, columns].flatten(1)
            order = torch.stack(
                [
                    torch.randperm(
                        part.cells,
                        generator=stream(
                            options.seed, "score", options.picture(place), round, rows.start, columns.start
                        ),
                    )
                    for place in range(part.batch)
                ]
            ).to(device)
            for start in range(0, part.batch, limit):
                some = slice(start, start + limit)
                piece = Canvas(part.ids[some], part.known[some])
                both = [
                    score(
                        model,
                        piece,
                        known_first(known_first(direction[some], piece.known.flatten(1)), not_blank[some]),
                        replace(setting, classes=setting.classes[some]),
                    )
                    for direction in (order, order.flip(1))
                ]
                sure[some, rows, columns] = (both[0] + both[1]) / 2
                scored += piece.batch
                if options.on_scored is not None:
                    options.on_scored(scored, len(down) * len(along) * canvas.batch)
    return sure[:, :height, :width]


def tiles(length: int, grid: int) -> list[slice]:
    """Windows of `grid` cells along an axis, the last flush with the end."""
    starts = [min(start, length - grid) for start in range(0, length, grid)]
    return [slice(start, start + grid) for start in starts]


def forget_unsure(canvas: Canvas, sure: Tensor, share: float | None = None, below: float | None = None) -> Canvas:
    """Of the cells that `canvas` doesn't know, keep the surest (`sure` `[B, h, w]`), with the ids that they have.

    What stays unknown is the least sure `share` of them (at least one cell where it isn't 0), or those `below` a
    probability. Raises ValueError unless one of the two is given, in 0 … 1.
    """
    if (share is None) == (below is None):
        raise ValueError("Say either which share of the cells to forget or below which probability, not both.")
    name, value = ("share", share) if below is None else ("probability", below)
    if not 0 <= value <= 1:
        raise ValueError(f"The {name} is {value}; it must lie between 0 and 1.")
    if below is not None:
        return replace(canvas, known=canvas.known | (sure >= below))
    open_cells = ~canvas.known.flatten(1)
    counts = open_cells.sum(1, keepdim=True)
    forgotten = torch.minimum((counts * share).round().long().clamp(min=int(share > 0)), counts)
    rank = sure.flatten(1).masked_fill(~open_cells, torch.inf).argsort(dim=1, stable=True).argsort(1)
    return replace(canvas, known=(rank >= forgotten).view(canvas.known.shape))


# Dark violet, blue, green, yellow: rises evenly in lightness and is told apart by the colour-blind.
RAMP = ((0.27, 0.00, 0.33), (0.23, 0.32, 0.55), (0.13, 0.57, 0.55), (0.37, 0.79, 0.38), (0.99, 0.91, 0.14))


def heat_map(confidence: Tensor, height: int, width: int) -> Tensor:
    """`confidence` `[B, h, w]` in 0…1 as a picture `[B, 3, height, width]`: dark is unsure, yellow is sure."""
    ramp = torch.tensor(RAMP, device=confidence.device)
    place = confidence.float().clamp(0, 1) * (len(RAMP) - 1)
    lower = place.long().clamp(max=len(RAMP) - 2)
    colours = torch.lerp(ramp[lower], ramp[lower + 1], (place - lower).unsqueeze(-1))
    return F.interpolate(colours.permute(0, 3, 1, 2), (height, width), mode="nearest-exact")
