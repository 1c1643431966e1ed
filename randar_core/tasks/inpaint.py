"""Repaint the masked part of a picture, under its own class or another one (a class edit)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..decoding.canvas import Canvas
from ..decoding.loop import Decoded, OnCall, Setting
from ..decoding.options import DecodingOptions, check_batch, check_pixels, one_each
from ..decoding.orders import Order, Painted, check_order
from ..decoding.plan import make_plan
from ..decoding.windows import Window, decode_windows
from .blending import carried_on, edge_of, fade_in, spread
from .confidence import forget_unsure, sureness

MUCH_WIDER = 1.5  # a square that regions share, against the widest that one of them has alone


@dataclass(frozen=True)
class Cutout:
    """A square of a picture, `side` pixels wide, that is repainted at the model's size; it may reach over the edges."""

    picture: int  # its place in the batch
    top: int
    left: int
    side: int
    regions: tuple[int, ...]  # the labels of the masked regions that it repaints

    def of(self, canvas: Tensor) -> Tensor:
        """The square's part of its picture in `canvas` `[B, ..., H, W]`; beyond the edges the edge repeats."""
        height, width = canvas.shape[-2:]
        steps = torch.arange(self.side, device=canvas.device)
        rows, columns = (self.top + steps).clamp(0, height - 1), (self.left + steps).clamp(0, width - 1)
        return canvas[self.picture][..., rows[:, None], columns]

    def within(self, canvas: Tensor) -> Tensor:
        """Which pixels of the square lie on the pictures of `canvas` `[B, ..., H, W]`: `[side, side]` bool."""
        height, width = canvas.shape[-2:]
        steps = torch.arange(self.side, device=canvas.device)
        rows, columns = self.top + steps, self.left + steps
        return ((rows >= 0) & (rows < height))[:, None] & (columns >= 0) & (columns < width)


@dataclass(frozen=True)
class Inpainted:
    """`pixels` `[B, C, H, W]`, `confidence` `[B, H, W]` (1 where nothing was drawn), and the squares it was drawn in.

    `decoded` holds the tokens of the squares, `[len(cutouts), g, g]`; None where there was nothing to do.
    """

    pixels: Tensor
    confidence: Tensor
    cutouts: tuple[Cutout, ...] = ()
    decoded: Decoded | None = None


@torch.no_grad()
def inpaint(
    model,
    tokenizer,
    pixels: Tensor,
    mask: Tensor,
    classes: Tensor,
    options: DecodingOptions,
    denoise: float = 1.0,
    grow: int = 0,
    seam: int = 8,
    context: float = 2.0,
    on_call: OnCall | None = None,
) -> Inpainted:
    """Repaint `pixels` `[B, C, H, W]` (C 3, or 4 with an alpha that is kept; 0…1) where `mask` `[B, H, W]` isn't 0.

    Batches of pictures, masks and `classes` `[B]` are matched: each has one entry or the same number. The mask grows by
    `grow` pixels; where it then is 0, every pixel stays as it is, bit for bit. Inside it the new pixels fade in over
    `seam` pixels; what the tokenizer gets wrong beside the cells that are drawn again is taken off them (`carried_on`).
    Around each region a square is cut, `context` times as wide as the region and at least as wide as the model's own
    picture where there is room, scaled to the model's size, repainted and scaled back; it reaches over the edges where
    the picture is too narrow for this context along its longer side. Regions whose squares would mostly coincide share
    one, as long as it isn't much wider than theirs. A cell is drawn again if the mask touches any of its pixels.
    `denoise` below 1 keeps the share 1 − denoise of these cells, the surest under the given class (spec: *class edit*);
    cells beyond the edges don't count.

    `on_call` sees the canvases of the squares, `[squares, g, g]`. Runs where `classes` lie. Raises ValueError for
    batches and sizes that don't match and for settings out of range.
    """
    check_mask(mask, pixels)
    pixels, mask, classes = one_each(pictures=pixels, masks=mask, classes=classes)
    check_batch(classes, len(classes), options)
    if not 0 <= denoise <= 1:
        raise ValueError(f"Denoise is {denoise}; it must lie between 0 (nothing is redrawn) and 1 (all of the mask).")
    if grow < 0 or seam < 0:
        raise ValueError(f"The mask is to grow by {grow} pixels with a seam of {seam}; neither may be below 0.")
    if not 1 <= context < math.inf:
        raise ValueError(f"The context is {context} times the masked region; it must be a number from 1 on.")
    if not callable(options.order):
        options = replace(options, order=check_order(options.order, len(pixels), model.config.grid**2))
    pixels, mask = pixels.to(classes.device), mask.to(classes.device).float().nan_to_num().clamp(0, 1)
    grown = spread(mask, grow)
    if denoise == 0 or not grown.any():
        return Inpainted(pixels.clone(), torch.ones_like(mask))

    labels = label_regions(grown > 0)
    size = model.config.grid * tokenizer.factor
    cutouts = [cutout for place in range(len(pixels)) for cutout in cut_out(labels[place], place, context, size)]
    own_classes = classes[torch.tensor([cutout.picture for cutout in cutouts], device=classes.device)]
    limit = options.batch or len(cutouts)
    crops = torch.stack([scaled(cutout.of(pixels[:, :3]), size) for cutout in cutouts])
    ids = torch.cat([tokenizer.encode(some).to(classes.device) for some in crops.split(limit)])
    masked, beyond = (
        torch.stack(cells)
        for cells in zip(*(masked_and_beyond(cutout, grown, model.config.grid) for cutout in cutouts), strict=True)
    )
    known = ~masked
    if denoise < 1:
        scoring = replace(options, pictures=[options.picture(cutout.picture) for cutout in cutouts])
        sure = sureness(model, Canvas(ids, known & ~beyond), own_classes, scoring, blank=beyond)
        known = forget_unsure(Canvas(ids, known), sure, share=denoise).known
    canvas = Canvas(ids, known & ~beyond)
    windows = plan_cutouts(cutouts, canvas, options, mask.shape[1:], model.parallel)
    setting = Setting(own_classes, options.guidance, options.sampling)
    decoded = decode_windows(model, canvas, [windows], setting, options.batch, on_call)

    opacity, out, confidence = fade_in(grown, seam), pixels.clone(), torch.ones_like(mask)
    pieces = zip(*(t.split(limit) for t in (decoded.ids, crops, canvas.known, ~known)), strict=True)
    drawn = torch.cat([matched(tokenizer.decode(ids).to(out), *given) for ids, *given in pieces])
    for cutout, square, sure in zip(cutouts, drawn, decoded.confidence, strict=True):
        # What another square repaints is context here.
        own = torch.isin(labels[cutout.picture], torch.tensor(cutout.regions, device=labels.device))
        blend(out[cutout.picture, :3], scaled(square, cutout.side), cutout, opacity[cutout.picture] * own)
        sure = F.interpolate(sure[None, None], (cutout.side, cutout.side), mode="nearest-exact")[0]
        blend(confidence[cutout.picture, None], sure, cutout, own.float())
    return Inpainted(out, confidence, tuple(cutouts), decoded)


def check_mask(mask: Tensor, pixels: Tensor) -> None:
    """ValueError unless `pixels` are pictures and `mask` is `[B, H, W]` of their size."""
    check_pixels(pixels)
    if mask.ndim != 3 or mask.shape[1:] != pixels.shape[2:]:
        found = f"is {mask.shape[2]}×{mask.shape[1]}" if mask.ndim == 3 else f"has the shape {list(mask.shape)}"
        raise ValueError(
            f"The mask {found}, the picture is {pixels.shape[3]}×{pixels.shape[2]} pixels (width×height). "
            "Scale or crop the mask to the size of the picture."
        )


def masked_and_beyond(cutout: Cutout, mask: Tensor, grid: int) -> tuple[Tensor, Tensor]:
    """Cells of a cutout, `[g, g]`, that `mask` `[B, H, W]` touches with any pixel, and those beyond the picture."""

    def touched(pixels: Tensor) -> Tensor:
        # Not on MPS, where torch pools windows of one size, which are wrong where the cells don't divide the square.
        cells = F.adaptive_max_pool2d(pixels.cpu().float()[None, None], grid)[0, 0] > 0
        return cells.to(pixels.device)

    beyond = ~touched(cutout.within(mask))
    return touched(cutout.of(mask) > 0) & ~beyond, beyond


def plan_cutouts(
    cutouts: Sequence[Cutout], canvas: Canvas, options: DecodingOptions, size: tuple[int, int], parallel: bool
) -> list[Window]:
    """Windows for `cutouts` of pictures of `size` (height, width); `canvas` `[cutouts, g, g]` is theirs."""
    windows = []
    for place, cutout in enumerate(cutouts):
        before = sum(other.picture == cutout.picture for other in cutouts[:place])
        plan = make_plan(
            Canvas(canvas.ids[place : place + 1], canvas.known[place : place + 1]),
            options.steps,
            options.window_seed(before),
            order_of(options.order, cutout, *size),
            [options.picture(cutout.picture)],
            parallel,
        )
        windows.append(Window(place, slice(None), slice(None), canvas.known[place], plan))
    return windows


def scaled(pixels: Tensor, size: int) -> Tensor:
    """A square picture `[C, S, S]` at `size`, in 0…1; as it is where it has that size."""
    if pixels.shape[1] == size:
        return pixels
    # Torch before 2.8 has no antialiased scaling on MPS.
    given = pixels.cpu() if pixels.device.type == "mps" else pixels
    out = F.interpolate(given[None].float(), (size, size), mode="bicubic", antialias=True)[0].clamp(0, 1)
    return out.to(pixels.device)


def order_of(order: Order | Tensor, cutout: Cutout, height: int, width: int) -> Order | Tensor:
    """What `order`, given for pictures of `height` × `width`, says of a cutout."""
    if isinstance(order, Painted):
        return Painted(replace(cutout, picture=0).of(order.resized(height, width).unsqueeze(0)))
    return order if callable(order) else order[cutout.picture]


def label_regions(inside: Tensor) -> Tensor:
    """Number the regions of `inside` `[B, H, W]` bool: `[B, H, W]` long, 0 outside.

    Neighbours (diagonal ones too) are one region, judged on at most 64×64 blocks: closer ones share a square anyway.
    """
    height, width = inside.shape[1:]
    block = math.ceil(max(height, width) / 64)
    blocks = F.max_pool2d(inside.float().unsqueeze(1), block, ceil_mode=True)
    labels = blocks * torch.arange(1, blocks[0].numel() + 1, device=inside.device).view(blocks[0].shape)
    while True:
        flooded = F.max_pool2d(labels, 3, 1, 1) * blocks
        if torch.equal(flooded, labels):
            break
        # A label is the number of a block: going on to what that block is labelled by now doubles the stride.
        labels = F.pad(labels.flatten(1), (1, 0)).gather(1, flooded.flatten(1).long()).view(labels.shape)
    labels = labels.squeeze(1).repeat_interleave(block, 1).repeat_interleave(block, 2)
    return labels[:, :height, :width].long() * inside


@dataclass(frozen=True)
class Box:
    """The smallest rectangle around the masked `regions`."""

    top: int
    left: int
    bottom: int
    right: int
    regions: tuple[int, ...]

    def union(self, other: "Box") -> "Box":
        return Box(
            min(self.top, other.top),
            min(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
            self.regions + other.regions,
        )


def boxes_of(labels: Tensor) -> list[Box]:
    """The box of every region of `labels` `[H, W]`."""
    height, width = labels.shape
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    flat, count = labels.flatten().cpu(), int(labels.max()) + 1

    def extreme(values: Tensor, how: str) -> Tensor:
        return torch.zeros(count, dtype=torch.long).scatter_reduce(0, flat, values.flatten(), how, include_self=False)

    ends = [extreme(rows, "amin"), extreme(columns, "amin"), extreme(rows, "amax") + 1, extreme(columns, "amax") + 1]
    return [Box(*(int(end[label]) for end in ends), (label,)) for label in flat.unique().tolist() if label]


def cut_out(labels: Tensor, picture: int, context: float, size: int) -> list[Cutout]:
    """The squares in which a model of `size` pixels repaints the regions of `labels` `[H, W]`."""
    height, width = labels.shape

    @cache  # every box is held against every other one
    def square(box: Box) -> Cutout:
        region = max(box.bottom - box.top, box.right - box.left)
        along = box.right - box.left if width > height else box.bottom - box.top
        side = min(max(math.ceil(context * region), size), widest_square(height, width, context * along))
        top = flush((box.top + box.bottom - side) // 2, side, height)
        return Cutout(picture, top, flush((box.left + box.right - side) // 2, side, width), side, box.regions)

    boxes, apart = boxes_of(labels), []
    alone = {box.regions: square(box).side for box in boxes}

    def share(a: Box, b: Box) -> bool:
        if not coincide(square(a), square(b)):
            return False
        # Many small regions in a row would else end in one square of the whole picture, far too coarse for each.
        union = a.union(b)
        return square(union).side <= MUCH_WIDER * max(alone[(region,)] for region in union.regions)

    while boxes:
        box = boxes.pop()
        mate = next((other for other in boxes if share(box, other)), None)
        if mate is None:
            apart.append(box)
        else:  # the larger square may now coincide with one that stood apart
            boxes.remove(mate)
            boxes, apart = [*apart, *boxes, box.union(mate)], []
    return sorted((square(box) for box in apart), key=lambda cutout: (cutout.top, cutout.left))


def widest_square(height: int, width: int, wanted: float) -> int:
    """Pixels of a side that a square on a picture may have, of which `wanted` are asked for along its longer side.

    A square larger than the shorter side has context along the longer one only, and nothing beyond the picture: it
    grows as far as is asked for along that side.
    """
    return max(min(height, width), min(math.ceil(wanted), max(height, width)))


def flush(start: int, side: int, length: int) -> int:
    """Move a stretch of `side` into 0 … `length`, or to its middle where it is longer."""
    return min(max(start, 0), length - side) if side <= length else (length - side) // 2


def coincide(a: Cutout, b: Cutout) -> bool:
    """Whether two squares share more than half of the smaller one."""
    shared = [max(0, min(p + a.side, q + b.side) - max(p, q)) for p, q in ((a.top, b.top), (a.left, b.left))]
    return 2 * shared[0] * shared[1] > min(a.side, b.side) ** 2


def matched(squares: Tensor, given: Tensor, kept: Tensor, new: Tensor) -> Tensor:
    """`squares` `[B, 3, S, S]` less what the tokenizer gets wrong beside the `new` cells `[B, g, g]` bool, in 0…1.

    That is how they differ from the `given` pictures in cells that were `kept`. In other pixels outside of the mask
    they may show something else by now, which is no error.
    """
    factor = squares.shape[2] // kept.shape[1]
    kept, new = (cells.repeat_interleave(factor, 1).repeat_interleave(factor, 2) for cells in (kept, new))
    return (squares + carried_on(given - squares, edge_of(kept, new))).clamp(0, 1)


def blend(target: Tensor, square: Tensor, cutout: Cutout, opacity: Tensor) -> None:
    """Lay `square` `[C, side, side]` over `target` `[C, H, W]` in place, as opaque as `opacity` `[H, W]` says."""
    height, width = opacity.shape
    top, left = max(0, cutout.top), max(0, cutout.left)
    rows = slice(top, min(height, cutout.top + cutout.side))
    columns = slice(left, min(width, cutout.left + cutout.side))
    part, opacity = target[:, rows, columns], opacity[rows, columns]
    new = square[:, top - cutout.top :, left - cutout.left :][:, : part.shape[1], : part.shape[2]].to(part)
    part.copy_(torch.where(opacity > 0, torch.lerp(part, new, opacity.to(part)), part))
