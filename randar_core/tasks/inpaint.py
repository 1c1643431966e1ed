"""Repaint the masked part of a picture, under its own class or another one (a class edit)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..decoding.canvas import Canvas, cells_of_mask
from ..decoding.conditions import PromptBatch
from ..decoding.loop import DecodeProgress, OnStep, decode
from ..decoding.options import DecodingOptions
from ..decoding.orders import Order, Painted, check_order
from ..decoding.plan import Plan, make_plan
from .blending import dilate, edge_of, feather, push_pull
from .checks import batch_of, check_mask, match_batches
from .confidence import OnScore, remask_least_confident, score_confidence
from .crops import Crop, crops_of, label_regions, resize_square

THRESHOLD = 0.1  # segmenters leave values of a few thousandths in the background


@dataclass(frozen=True)
class InpaintResult:
    """`pixels` `[B, C, H, W]`, `confidence` `[B, H, W]` (1 where nothing was drawn), and the crops it was drawn in.

    `decoded` holds the tokens of the crops, `[len(crops), g, g]`; None where there was nothing to do.
    """

    pixels: Tensor
    confidence: Tensor
    crops: tuple[Crop, ...] = ()
    decoded: DecodeProgress | None = None


@torch.no_grad()
def inpaint(
    model,
    tokenizer,
    pixels: Tensor,
    mask: Tensor,
    prompts: Tensor | PromptBatch,
    options: DecodingOptions,
    denoise: float = 1.0,
    grow: int = 0,
    seam: int = 8,
    context: float = 2.0,
    threshold: float = THRESHOLD,
    on_step: OnStep | None = None,
    on_score: OnScore | None = None,
) -> InpaintResult:
    """Repaint `pixels` where `mask` is above `threshold`. Everywhere else each pixel stays as it is, bit for bit.

    model, tokenizer: a transformer of any family and the tokenizer that it was trained with.
    pixels: `[B, C, H, W]` in 0…1; C is 3, or 4 with an alpha that is kept.
    mask: `[B, H, W]` in 0…1. Above the threshold it is the opacity of the new pixels.
    prompts: class ids `[B]` or `PromptBatch`; regions cover the picture. Pictures, masks and prompts each have one
        entry or the same number.
    options: how to decode; an order given as cell indices is one of the model's grid.
    denoise: below 1, the share 1 − denoise of the masked cells stays: the most confident ones under the prompt.
    grow: pixels by which the mask grows first.
    seam: pixels inside the grown mask over which the new pixels fade in.
    context: the width of the crop around a region, in widths of the region, see `crops.crops_of`.
    threshold: mask values up to it are taken as 0.
    on_step: sees the canvases of the crops, `[crops, g, g]`.
    on_score: hears of the windows that are scored, where `denoise` is below 1.

    Each crop is scaled to the model's size, repainted and scaled back. A cell is drawn again if the mask touches any of
    its pixels. The tokenizer's reconstruction error next to these cells is removed from the new pixels (`push_pull`).
    Runs on the device of `prompts`. Raises ValueError for batches and sizes that don't match and for settings out of
    range.
    """
    prompts = PromptBatch.of(prompts)
    device = prompts.device
    check_mask(mask, pixels)
    batch = batch_of(pictures=len(pixels), masks=len(mask), classes=len(prompts))
    pixels, mask = match_batches(batch, pixels, mask)
    prompts = prompts.repeated(batch)
    check_settings(denoise, grow, seam, context, threshold)
    if options.order is not None and not callable(options.order):
        options = replace(options, order=check_order(options.order, batch, model.config.grid**2))
    pixels, mask = pixels.to(device), mask.to(device=device, dtype=torch.float32).clamp(0, 1)
    mask = dilate(torch.where(mask > threshold, mask, 0), grow)
    if denoise == 0 or not mask.any():
        return InpaintResult(pixels.clone(), torch.ones_like(mask))

    grid = model.config.grid
    size = grid * tokenizer.factor
    labels, crops = crops_around(mask, context, size)
    limit = options.batch_size or len(crops)
    squares = torch.stack([resize_square(crop.of(pixels[:, :3]), size) for crop in crops])
    ids = torch.cat([tokenizer.encode(chunk).to(device) for chunk in squares.split(limit)])
    masked, outside = cell_masks(crops, mask, grid)
    indices = options.indices(batch)
    crop_options = replace(options, batch_index=[indices[crop.picture] for crop in crops])
    crop_prompts = prompts_of_crops(prompts, crops, mask.shape[1:])
    redrawn = masked
    if denoise < 1:
        scored = score_confidence(
            model, Canvas(ids, ~masked & ~outside), crop_prompts, crop_options, outside=outside, on_score=on_score
        )
        redrawn = ~remask_least_confident(Canvas(ids, ~masked), scored, share=denoise).known
    canvas = Canvas(ids, ~redrawn & ~outside)
    plan = plan_crops(model, crops, canvas.known, crop_options, mask.shape[1:])
    drawn = decode(model, canvas, plan, crop_prompts.on_cells(grid, grid), options, on_step=on_step)

    chunks = zip(*(t.split(limit) for t in (drawn.ids, squares, canvas.known, redrawn)), strict=True)
    new = torch.cat([remove_reconstruction_error(tokenizer.decode(ids).to(pixels), *rest) for ids, *rest in chunks])
    opacity, out, confidence = feather(mask, seam), pixels.clone(), torch.ones_like(mask)
    for crop, square, cells in zip(crops, new, drawn.confidence, strict=True):
        # What another crop repaints is context in this one.
        own = torch.isin(labels[crop.picture], torch.tensor(crop.regions, dtype=torch.long, device=device))
        blend(out[crop.picture, :3], resize_square(square, crop.side), crop, opacity[crop.picture] * own)
        cells = F.interpolate(cells[None, None], (crop.side, crop.side), mode="nearest-exact")[0]
        blend(confidence[crop.picture, None], cells, crop, own.to(torch.float32))
    return InpaintResult(out, confidence, tuple(crops), drawn)


def check_settings(denoise: float, grow: int, seam: int, context: float, threshold: float) -> None:
    """ValueError for a setting of `inpaint` that is out of range."""
    if not 0 <= denoise <= 1:
        raise ValueError(f"Denoise is {denoise}; it must lie between 0 (nothing is redrawn) and 1 (all of the mask).")
    if grow < 0 or seam < 0:
        raise ValueError(f"The mask is to grow by {grow} pixels with a seam of {seam}; neither may be below 0.")
    if not 1 <= context < math.inf:
        raise ValueError(f"The context is {context} times the masked region; it must be a number of 1 or more.")
    if not 0 <= threshold < 1:
        raise ValueError(f"The threshold of the mask is {threshold}; it must be 0 or more and below 1.")


def crops_around(mask: Tensor, context: float, size: int) -> tuple[Tensor, list[Crop]]:
    """The regions of `mask` `[B, H, W]`, numbered as by `label_regions`, and the crops in which they are repainted."""
    labels = label_regions(mask > 0)
    return labels, crops_of(labels, context, size)


def crops_and_known(masked: Tensor, grow: int, context: float, size: int, grid: int) -> tuple[list[Crop], list[int]]:
    """The crops in which `inpaint` repaints `masked` `[B, H, W]` bool, and how many cells of each are known at least.

    grow, context: as for `inpaint`.
    size: pixels of a side of the model's own picture.
    grid: cells of it.
    """
    mask = dilate(masked.to(torch.float32), grow)
    _, crops = crops_around(mask, context, size)
    if not crops:
        return [], []
    drawn, outside = cell_masks(crops, mask, grid)
    return crops, (~drawn & ~outside).flatten(1).sum(1).tolist()


def cell_masks(crops: Sequence[Crop], mask: Tensor, grid: int) -> tuple[Tensor, Tensor]:
    """Cells `[len(crops), g, g]` bool that `mask` `[B, H, W]` touches, and cells that lie outside of the picture."""
    height, width = mask.shape[1:]
    masked = torch.cat([cells_of_mask(crop.of(mask)[None] > 0, grid, grid) for crop in crops])
    inside = torch.cat([cells_of_mask(crop.inside(height, width, mask.device)[None], grid, grid) for crop in crops])
    return masked & inside, ~inside


def prompts_of_crops(prompts: PromptBatch, crops: Sequence[Crop], size: tuple[int, int]) -> PromptBatch:
    """The prompt of each crop, with its part of the regions, which cover pictures of `size` (height, width)."""
    items = []
    for crop in crops:
        item = prompts.items[crop.picture]
        masks = tuple(None if mask is None else crop.of_one(resized(mask, size)) for mask in item.masks)
        items.append(replace(item, masks=masks))
    return replace(prompts, items=tuple(items))


def resized(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """`mask` `[H, W]` at `size`, by area, on the CPU."""
    return F.interpolate(mask.to(device="cpu", dtype=torch.float32)[None, None], size, mode="area")[0, 0]


def plan_crops(model, crops: Sequence[Crop], known: Tensor, options: DecodingOptions, size: tuple[int, int]) -> Plan:
    """The plan for `crops` of pictures of `size` (height, width); `known` `[len(crops), g, g]` is theirs."""
    numbers = [sum(other.picture == crop.picture for other in crops[:index]) for index, crop in enumerate(crops)]
    orders = None if options.order is None else [order_of(options.order, crop, *size) for crop in crops]
    return make_plan(model, known, options, [options.window_seed(number) for number in numbers], orders)


def order_of(order: Order | Tensor, crop: Crop, height: int, width: int) -> Order | Tensor:
    """The order of a crop that follows from `order` for pictures of `height` × `width`."""
    if isinstance(order, Painted):
        return Painted(crop.of_one(order.resized(height, width)))
    return order if callable(order) else order[crop.picture]


def remove_reconstruction_error(squares: Tensor, originals: Tensor, known: Tensor, new: Tensor) -> Tensor:
    """`squares` `[B, 3, S, S]` in 0…1 less the tokenizer's error next to the `new` cells `[B, g, g]` bool.

    The error is how they differ from the `originals` in cells that were `known`. In other pixels outside of the mask
    they may show something else by now, which is not an error of the tokenizer.
    """
    factor = squares.shape[2] // known.shape[1]
    known, new = (cells.repeat_interleave(factor, 1).repeat_interleave(factor, 2) for cells in (known, new))
    return (squares + push_pull(originals - squares, edge_of(known, new))).clamp(0, 1)


def blend(target: Tensor, square: Tensor, crop: Crop, opacity: Tensor) -> None:
    """Lay `square` `[C, side, side]` over `target` `[C, H, W]` in place, with `opacity` `[H, W]`."""
    height, width = opacity.shape
    top, left = max(0, crop.top), max(0, crop.left)
    rows = slice(top, min(height, crop.top + crop.side))
    columns = slice(left, min(width, crop.left + crop.side))
    part, opacity = target[:, rows, columns], opacity[rows, columns]
    new = square[:, top - crop.top :, left - crop.left :][:, : part.shape[1], : part.shape[2]].to(part)
    part.copy_(torch.where(opacity > 0, torch.lerp(part, new, opacity.to(part)), part))
