"""A canvas of any size: the model's window slides over it, knows what it overlaps and draws the rest."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from .canvas import Canvas
from .loop import Decoded, OnCall, Setting, decode
from .options import DecodingOptions, Watch, check_batch
from .orders import Order, Painted, check_order
from .plan import Plan, make_plan
from .seeding import draw_noise


@dataclass(frozen=True)
class Window:
    """A part of one picture's canvas that is decoded as a canvas of its own, and the plan for it (a batch of one)."""

    picture: int  # its place in the batch
    rows: slice
    columns: slice
    known: Tensor  # [rows, columns] bool: what it is given, on any device
    plan: Plan

    def of(self, canvas: Tensor) -> Tensor:
        """The window's part of `canvas` `[B, h, w]`, a view."""
        return canvas[self.picture, self.rows, self.columns]


# How deep the edge of a picture shows in its tokens. With one cell, plain backgrounds of large canvases drawn by the
# built-in model had a faint grid where windows met; with two it is gone.
EDGE = 2

# The share of its side by which a window overlaps what was there before. Of a large object half a window often saw only
# the cut end, and drew another one against it. Three quarters take 1.7 times as long.
OVERLAP = 0.75

Wave = Sequence[Window]  # windows that may be decoded together: none is given what another of them draws


@torch.no_grad()
def fill(
    model,
    canvas: Canvas,
    classes: Tensor,
    options: DecodingOptions,
    overlap: int | None = None,
    round: int = 0,
    on_call: OnCall | None = None,
) -> Decoded:
    """Draw every unknown cell of `canvas` `[B, h, w]`, of any size.

    A window of the model's grid starts on what is known (or, on an empty canvas, in the middle) and slides outward,
    sides before corners. It overlaps what was there before by `overlap` cells, by default `OVERLAP` of its side, and
    draws the outermost of them anew (see `window_parts`). A cell's random number is that of its place on the canvas,
    whichever window draws it. A canvas narrower or lower than the window is drawn as the middle of a larger one.
    `on_call` sees the whole canvas. Raises ValueError for an overlap that isn't 0 … grid − 1.
    """
    grid = model.config.grid
    overlap = int(OVERLAP * grid) if overlap is None else overlap
    if not 0 <= overlap < grid:
        raise ValueError(
            f"The overlap is {overlap} cells; the model's window is {grid} cells wide, so it must be 0 to {grid - 1}."
        )
    check_batch(classes, canvas.batch, options)
    height, width = canvas.ids.shape[1:]
    spare_y, spare_x = max(0, grid - height), max(0, grid - width)
    padding = (spare_x // 2, spare_x - spare_x // 2, spare_y // 2, spare_y - spare_y // 2)
    rows, columns = slice(padding[2], padding[2] + height), slice(padding[0], padding[0] + width)
    orders = window_orders(options.order, canvas.batch, height, width, padding)
    shown = F.pad(torch.ones(height, width, dtype=torch.bool), padding)
    canvas = Canvas(F.pad(canvas.ids, padding), F.pad(canvas.known, padding))
    waves = plan_waves(canvas.known.cpu(), grid, overlap, options, orders, model.parallel, round, shown)

    def cropped(decoded: Decoded) -> Decoded:
        ids, known, confidence = (t[:, rows, columns] for t in (decoded.ids, decoded.known, decoded.confidence))
        return replace(decoded, ids=ids, known=known, confidence=confidence)

    setting = Setting(classes, options.guidance, options.sampling)
    return cropped(decode_windows(model, canvas, waves, setting, options.batch, Watch(on_call).through(cropped)))


def decode_windows(
    model,
    canvas: Canvas,
    waves: Sequence[Wave],
    setting: Setting,
    batch: int | None = None,
    on_call: OnCall | None = None,
) -> Decoded:
    """Decode the windows of `canvas` wave by wave, at most `batch` of them together; `on_call` sees the whole canvas.

    Windows are all of one size. Runs on the device of `canvas`.
    """
    ids, known = (t.clone(memory_format=torch.contiguous_format) for t in (canvas.ids, canvas.known))
    sure = known.float()
    cells = torch.arange(ids.numel(), device=ids.device).view(ids.shape)
    calls, done, watch = count_calls(waves, batch), 0, Watch(on_call)
    for piece in in_pieces(waves, batch):
        given = torch.stack([window.known for window in piece])
        part = Canvas(torch.stack([w.of(ids) for w in piece]), given.to(ids.device))
        # Places of the new cells in the piece and on the canvas. What a window was given keeps the confidence that it
        # was drawn with. Looked up here, since masks of unknown number would make every call wait for the device.
        new = (~given).flatten().nonzero().flatten().to(ids.device)
        target = torch.stack([w.of(cells) for w in piece]).flatten()[new]

        def paste(decoded: Decoded, new=new, target=target, before=done) -> Decoded:
            drawn = decoded.known.flatten()[new]
            # What is drawn anew stays until it is.
            for whole, state in ((ids, decoded.ids), (known, decoded.known), (sure, decoded.confidence)):
                flat = whole.view(-1)
                flat[target] = torch.where(drawn, state.flatten()[new], flat[target])
            return Decoded(ids, known, sure, before + decoded.call, calls)

        pictures = torch.tensor([window.picture for window in piece], device=ids.device)
        own = replace(
            setting,
            classes=setting.classes.to(ids.device)[pictures],
            context_kept=None if setting.context_kept is None else setting.context_kept.to(ids.device)[pictures],
        )
        done = paste(decode(model, part, joined(piece), own, watch.through(paste))).call
        if watch.stopped:
            break
    return Decoded(ids, known, sure, done, calls)


def in_pieces(waves: Sequence[Wave], batch: int | None) -> list[Wave]:
    """The waves in turn, each cut into pieces of at most `batch` windows."""
    pieces = []
    for wave in waves:
        size = batch or len(wave)
        pieces += [wave[start : start + size] for start in range(0, len(wave), size)]
    return pieces


def count_calls(waves: Sequence[Wave], batch: int | None) -> int:
    """Calls that `decode_windows` takes: windows of a piece that know equally many cells share theirs."""
    return sum(sum(map(len, {window.plan.sizes[0] for window in piece})) for piece in in_pieces(waves, batch))


def joined(windows: Wave) -> Plan:
    """One plan for all `windows`."""
    plans = [window.plan for window in windows]
    return Plan(
        torch.cat([plan.order for plan in plans]),
        torch.cat([plan.noise for plan in plans]),
        tuple(plan.sizes[0] for plan in plans),
    )


def plan_waves(
    known: Tensor,
    grid: int,
    overlap: int,
    options: DecodingOptions,
    orders: Callable[[int, slice, slice], Order | Tensor],
    parallel: bool,
    round: int,
    shown: Tensor,
) -> list[list[Window]]:
    """The windows that draw all unknown cells of `known` `[B, h, w]` that are `shown` `[h, w]`, wave by wave.

    Both are bool and on the CPU. Around these they draw others too.
    """
    batch, height, width = known.shape
    pictures = [options.picture(place) for place in range(batch)]
    noise = draw_noise(options.seed, pictures, height * width, round).view(known.shape)
    waves: dict[int, list[Window]] = {}
    for place, picture in enumerate(pictures):
        drawn = 0
        for wave, top, left, given in window_parts(known[place], grid, overlap, shown):
            rows, columns = slice(top, top + grid), slice(left, left + grid)
            plan = make_plan(
                Canvas(torch.zeros(1, grid, grid, dtype=torch.long), given.unsqueeze(0)),
                options.steps,
                options.window_seed(drawn),
                orders(place, rows, columns),
                [picture],
                parallel,
                round,
            )
            plan = replace(plan, noise=noise[place, rows, columns].reshape(1, -1))
            waves.setdefault(wave, []).append(Window(place, rows, columns, given, plan))
            drawn += 1
    return [waves[wave] for wave in sorted(waves)]


def window_parts(
    known: Tensor, grid: int, overlap: int, shown: Tensor | None = None
) -> Iterator[tuple[int, int, int, Tensor]]:
    """(wave, top, left, given) of the windows that draw what `known` `[h, w]` lacks; each is `given` `[g, g]` bool.

    A window that lacks nothing of what is `shown` `[h, w]`, by default all, is left out.
    At its edges a window draws what stands at the edge of a picture, for the model has seen nothing else there: cells
    that look like an end, or like a line once the picture goes on. Where it does, the next window isn't given these
    outermost cells, `EDGE` deep, but draws them anew. A window's wave comes after those of all that drew in its square
    before.
    """
    # Of an overlap, and of a window that goes on to all sides, at least one cell stays to go by.
    depth = max(min(EDGE, overlap - 1, (grid - 1) // 2), 0)
    known, last_wave = known.clone(), torch.full(known.shape, -1)
    unseen = torch.zeros_like(known) if shown is None else ~shown
    for top, left in window_places(known, grid, overlap):
        square = slice(top, top + grid), slice(left, left + grid)
        part = known[square]
        if (part | unseen[square]).all():
            continue
        given, wave = part.clone(), int(last_wave[square].max()) + 1
        last_wave[square][~given] = wave
        part.fill_(True)
        if depth:
            part &= given | ~goes_on(known, top, left, grid, depth)
        yield wave, top, left, given


def goes_on(known: Tensor, top: int, left: int, grid: int, depth: int) -> Tensor:
    """The outermost cells of a window on `known` `[h, w]`, `depth` deep where an unknown one lies outside: `[g, g]`."""
    rows, columns = slice(top, top + grid), slice(left, left + grid)
    outside = F.pad(~known, (1, 1, 1, 1))  # beyond the canvas there is nothing to draw
    near = torch.zeros(grid, grid, dtype=torch.bool)
    near[:depth] |= outside[top, 1:-1][columns]
    near[grid - depth :] |= outside[top + grid + 1, 1:-1][columns]
    near[:, :depth] |= outside[1:-1, left][rows, None]
    near[:, grid - depth :] |= outside[1:-1, left + grid + 1][rows, None]
    return near


def window_places(known: Tensor, grid: int, overlap: int) -> list[tuple[int, int]]:
    """(top, left) of the windows that cover `known` `[h, w]`, from its middle outward, sides before corners.

    Those above and below come first, then those beside: neighbours draw one after the other, and so fewest wait.
    """
    places = []
    for axis in (1, 0):
        occupied = known.any(axis).nonzero().flatten().tolist()
        middle = known.shape[1 - axis] // 2
        start, stop = (occupied[0], occupied[-1] + 1) if occupied else (middle, middle)
        places.append(axis_places(known.shape[1 - axis], start, stop, grid, overlap))
    ranked = sorted((rank_y + rank_x, rank_x, top, left) for rank_y, top in places[0] for rank_x, left in places[1])
    return [(top, left) for *_, top, left in ranked]


def axis_places(length: int, start: int, stop: int, grid: int, overlap: int) -> list[tuple[int, int]]:
    """(rank, place) of windows along an axis of `length` cells of which `start` … `stop` hold what is known.

    The window of rank 0 stands in the middle of the known cells, and ranks rise outward in both directions. Beyond the
    known cells each window overlaps what is there by `overlap` cells, by more where the canvas ends.
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
) -> Callable[[int, slice, slice], Order | Tensor]:
    """What `order`, given for a canvas `[B, h, w]`, says of a window (place in the batch, rows, columns) of it.

    `padding` is what the canvas is extended by (left, right, top, bottom).
    """
    if isinstance(order, Painted):
        painting = F.pad(order.resized(height, width)[None, None], padding, mode="replicate")[0, 0]
        return lambda place, rows, columns: Painted(painting[rows, columns])
    if callable(order):
        return lambda place, rows, columns: order
    order = check_order(order, batch, height * width).cpu()
    rank = order.argsort(1).view(batch, height, width)
    rank = F.pad(rank, padding, value=height * width)
    return lambda place, rows, columns: rank[place, rows, columns].flatten().argsort(stable=True)
