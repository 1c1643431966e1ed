"""A canvas larger than the model's grid: a window slides over it, knows what it overlaps and draws the rest."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .canvas import Canvas
from .conditions import ConditionMap
from .loop import DecodeProgress, OnStep, count_calls, decode
from .options import DecodingOptions
from .orders import Order, Painted, check_order
from .plan import make_plan
from .seeding import draw_noise

# How deep the edge of a picture shows in its tokens. With one cell, plain backgrounds of large canvases had a
# faint grid where windows met, drawn by the model of shapes (built in before 0.2.0); with two it is gone.
EDGE = 2

# The share of its side by which a window overlaps what was drawn before. Of a large object half a window often saw only
# the cut end, and drew another one against it. Three quarters take 1.7 times as long.
OVERLAP = 0.75


@dataclass(frozen=True)
class Window:
    """A part of one picture's canvas that is decoded as a canvas of its own."""

    picture: int  # index in the batch
    number: int  # among the windows of its picture
    wave: int  # windows of one wave are decoded together: none knows what another of them draws
    rows: slice
    columns: slice
    known: Tensor  # [rows, columns] bool, on the CPU

    def of(self, canvas: Tensor) -> Tensor:
        """The window's part of `canvas` `[B, h, w]`, a view."""
        return canvas[self.picture, self.rows, self.columns]


WindowOrder = Callable[[Window], Order | Tensor]


def default_overlap(grid: int) -> int:
    """Cells that a window of `grid` cells overlaps what was drawn before."""
    return int(OVERLAP * grid)


@torch.no_grad()
def decode_windows(
    model,
    canvas: Canvas,
    windows: Sequence[Window],
    conditions: Sequence[ConditionMap],
    options: DecodingOptions,
    order_of: WindowOrder,
    pass_index: int = 0,
    on_step: OnStep | None = None,
) -> DecodeProgress:
    """Decode the windows of a canvas wave by wave.

    model: a transformer of any family.
    canvas: `[B, h, w]`.
    windows: that draw its unknown cells, see `windows_of`.
    conditions: of each picture, on the cells of the canvas.
    options: as for `decode`; the order is that of `order_of`.
    order_of: the order of each window.
    pass_index: see `make_plan`.
    on_step: sees the whole canvas.

    The random number of a cell is that of its position on the canvas, whichever window draws it. What a window knows
    keeps the confidence that it was drawn with. Runs on the device of `canvas`.
    """
    ids, known = (t.clone(memory_format=torch.contiguous_format) for t in (canvas.ids, canvas.known))
    confidence = known.to(torch.float32)
    device, (batch, height, width) = ids.device, ids.shape
    indices = options.indices(batch)
    noise = draw_noise([options.seed] * batch, indices, height * width, pass_index).view(ids.shape)
    cells = torch.arange(ids.numel(), device=device).view(ids.shape)
    waves: dict[int, list[Window]] = {}
    for window in windows:
        waves.setdefault(window.wave, []).append(window)
    planned = []
    for _, wave in sorted(waves.items()):
        plan = make_plan(
            model,
            torch.stack([window.known for window in wave]),
            replace(options, batch_index=[indices[window.picture] for window in wave]),
            [options.window_seed(window.number) for window in wave],
            [order_of(window) for window in wave],
            torch.stack([window.of(noise).flatten() for window in wave]),
            pass_index,
        )
        cropped = [conditions[window.picture].crop(window.rows, window.columns) for window in wave]
        planned.append((wave, plan, cropped))
    calls = sum(count_calls(plan, cropped, options.batch_size) for _, plan, cropped in planned)
    done = 0
    for wave, plan, cropped in planned:
        wave_known = torch.stack([window.known for window in wave])
        part = Canvas(torch.stack([window.of(ids) for window in wave]), wave_known.to(device))
        # Index of the new cells in the wave and on the canvas. It is looked up here: a mask with an unknown number of
        # cells would make the host wait for the device in every call.
        new = (~wave_known).flatten().nonzero().flatten().to(device)
        target = torch.stack([window.of(cells) for window in wave]).flatten()[new]

        def paste(progress: DecodeProgress, new=new, target=target, before=done) -> DecodeProgress:
            drawn = progress.known.flatten()[new]
            # Cells to be redrawn keep their old token until then.
            for whole, state in ((ids, progress.ids), (known, progress.known), (confidence, progress.confidence)):
                flat = whole.view(-1)
                flat[target] = torch.where(drawn, state.flatten()[new], flat[target])
            return DecodeProgress(ids, known, confidence, before + progress.call, calls, progress.stopped)

        progress = paste(decode(model, part, plan, cropped, options, on_step=mapped(on_step, paste)))
        done = progress.call
        if progress.stopped:
            return progress
    return DecodeProgress(ids, known, confidence, done, calls)


def mapped(on_step: OnStep | None, form: Callable[[DecodeProgress], DecodeProgress]) -> OnStep | None:
    """An `on_step` for a part of a decode: `form` makes its progress that of the whole. None where nobody looks."""
    return None if on_step is None else lambda progress: on_step(form(progress))


def grid_padding(height: int, width: int, grid: int) -> tuple[int, int, int, int]:
    """Cells by which a canvas is extended so that a window of `grid` cells fits in: left, right, top, bottom."""
    spare_y, spare_x = max(0, grid - height), max(0, grid - width)
    return spare_x // 2, spare_x - spare_x // 2, spare_y // 2, spare_y - spare_y // 2


def windows_of(known: Tensor, grid: int, overlap: int | None = None) -> list[Window]:
    """The windows that draw all unknown cells of `known` `[B, h, w]` bool.

    They lie on the canvas as `grid_padding` extends it, and draw cells outside of `known` too. `overlap` None is
    `default_overlap`.
    """
    overlap = default_overlap(grid) if overlap is None else overlap
    padding = grid_padding(*known.shape[1:], grid)
    known, shown = (
        F.pad(known.cpu(), padding),
        F.pad(torch.ones(known.shape[1:], dtype=torch.bool, device="cpu"), padding),
    )
    return [
        Window(picture, number, wave, slice(top, top + grid), slice(left, left + grid), window_known)
        for picture in range(len(known))
        for number, (wave, top, left, window_known) in enumerate(window_parts(known[picture], grid, overlap, shown))
    ]


def window_parts(
    known: Tensor, grid: int, overlap: int, shown: Tensor | None = None
) -> Iterator[tuple[int, int, int, Tensor]]:
    """(wave, top, left, known) of the windows that draw the unknown cells of `known` `[h, w]`; known is `[g, g]` bool.

    A window in which all cells that are `shown` `[h, w]` (by default all) are known is left out.
    At its edges a window draws what is seen at the edge of a picture, for the model has seen nothing else there: cells
    that look like an end, or like a line once the picture continues. Where it continues, the next window doesn't know
    these outermost cells, `EDGE` deep, but draws them again. A window's wave comes after those of all windows that drew
    in its square before. All of it lies on the CPU.
    """
    # At least one cell of an overlap stays known, and one of a window that continues on all sides.
    depth = max(min(EDGE, overlap - 1, (grid - 1) // 2), 0)
    # In numpy, whose functions take so few cells in a third of torch's time.
    last_wave = np.full(known.shape, -1)
    shown_cells = np.ones(known.shape, dtype=bool) if shown is None else shown.numpy()
    unknown = np.pad(~known.numpy(), 1)  # outside of the canvas there is nothing to draw
    for top, left in window_positions(known, grid, overlap):
        square = slice(top, top + grid), slice(left, left + grid)
        with_neighbours = unknown[top : top + grid + 2, left : left + grid + 2]
        part = with_neighbours[1:-1, 1:-1]
        if not (part & shown_cells[square]).any():
            continue
        window_unknown, wave = part.copy(), int(last_wave[square].max()) + 1
        last_wave[square][window_unknown] = wave
        part[:] = window_unknown & border_facing_unknown(with_neighbours, depth) if depth else False
        yield wave, top, left, torch.from_numpy(~window_unknown)


def border_facing_unknown(unknown: np.ndarray, depth: int) -> np.ndarray:
    """The outermost cells of a window, `depth` ≥ 1 of them deep where an unknown one lies outside: `[g, g]`.

    `unknown` `[g + 2, g + 2]` is the window with the cells around it.
    """
    above, below, before, after = unknown[0, 1:-1], unknown[-1, 1:-1], unknown[1:-1, 0], unknown[1:-1, -1]
    near = np.zeros((len(above), len(above)), dtype=bool)
    near[:depth] |= above
    near[-depth:] |= below
    near[:, :depth] |= before[:, None]
    near[:, -depth:] |= after[:, None]
    return near


def window_positions(known: Tensor, grid: int, overlap: int) -> list[tuple[int, int]]:
    """(top, left) of the windows that cover `known` `[h, w]`, from its middle outward, sides before corners.

    Those above and below come first, then those to the left and right: neighbours draw one after the other, so that
    fewest wait.
    """
    positions = []
    for axis in (1, 0):
        occupied = known.numpy().any(axis).nonzero()[0].tolist()
        middle = known.shape[1 - axis] // 2
        start, stop = (occupied[0], occupied[-1] + 1) if occupied else (middle, middle)
        positions.append(axis_positions(known.shape[1 - axis], start, stop, grid, overlap))
    ranked = sorted(
        (rank_y + rank_x, rank_x, top, left) for rank_y, top in positions[0] for rank_x, left in positions[1]
    )
    return [(top, left) for *_, top, left in ranked]


def axis_positions(length: int, start: int, stop: int, grid: int, overlap: int) -> list[tuple[int, int]]:
    """(rank, position) of windows along an axis of `length` cells of which `start` … `stop` hold the known cells.

    The window of rank 0 lies in the middle of the known cells, and ranks rise outward in both directions. Outside of
    the known cells each window overlaps what was drawn before by `overlap` cells, by more where the canvas ends.
    """
    if stop - start < grid:
        start = min(max((start + stop - grid) // 2, 0), length - grid)
        stop = start + grid
    stride = grid - overlap
    middle = (start + stop - grid) // 2
    after = [*range(middle + stride, stop - grid, stride), stop - grid] if stop - grid > middle else []
    before = [*range(middle - stride, start, -stride), start] if start < middle else []
    while stop < length:
        after.append(min(stop - overlap, length - grid))
        stop = after[-1] + grid
    while start > 0:
        before.append(max(start + overlap - grid, 0))
        start = before[-1]
    return [(0, middle), *enumerate(after, 1), *enumerate(before, 1)]


def window_orders(
    order: Order | Tensor, batch: int, height: int, width: int, padding: tuple[int, int, int, int]
) -> WindowOrder:
    """The order of each window that follows from `order` for a canvas `[B, h, w]`.

    `padding` is what the canvas is extended by (left, right, top, bottom).
    """
    if isinstance(order, Painted):
        painting = F.pad(order.resized(height, width)[None, None], padding, mode="replicate")[0, 0]
        return lambda window: Painted(painting[window.rows, window.columns])
    if callable(order):
        return lambda window: order
    order = check_order(order, batch, height * width).cpu()
    rank = F.pad(order.argsort(1).view(batch, height, width), padding, value=height * width)
    return lambda window: window.of(rank).flatten().argsort(stable=True)
