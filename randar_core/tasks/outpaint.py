"""Extend a picture beyond its edges."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..decoding.canvas import Canvas
from ..decoding.loop import Decoded, OnCall
from .options import DecodingOptions, check_pixels, one_each
from .windows import fill


@dataclass(frozen=True)
class Outpainted:
    """`pixels` `[B, C, top + H + bottom, left + W + right]`, and the tokens of the canvas `[B, h, w]` they lie on.

    The canvas is aligned with the picture: its cell (`row`, `column`) begins at the picture's top left pixel.
    """

    pixels: Tensor
    decoded: Decoded
    row: int
    column: int


@torch.no_grad()
def outpaint(
    model,
    tokenizer,
    pixels: Tensor,
    classes: Tensor,
    options: DecodingOptions,
    left: int = 0,
    top: int = 0,
    right: int = 0,
    bottom: int = 0,
    overlap: int | None = None,
    seam: int = 16,
    on_call: OnCall | None = None,
) -> Outpainted:
    """Extend `pixels` `[B, C, H, W]` (C 3, or 4 with an alpha; 0…1) by so many pixels on each side.

    Pixels are taken as they are: the model's window covers grid · factor of them, whatever the size of the picture; it
    slides as `fill` says, over `overlap` known cells. A cell is drawn if it holds a new pixel. The original pixels
    stay, bit for bit. What the tokenizer gets wrong at their edge is added to the new pixels next to it, fading out
    over `seam` pixels, so that none shows there. `on_call` sees the whole canvas. Runs where `classes` lie. Raises
    ValueError for an amount below 0.
    """
    if min(left, top, right, bottom) < 0:
        raise ValueError(
            f"The picture is to grow by left {left}, top {top}, right {right}, bottom {bottom} pixels; "
            "none may be below 0 (crop the picture instead)."
        )
    if seam < 0:
        raise ValueError(f"The seam is {seam} pixels wide; it may not be below 0.")
    check_pixels(pixels)
    pixels, classes = one_each(pictures=pixels, classes=classes)
    pixels = pixels.to(classes.device)
    factor, (height, width) = tokenizer.factor, pixels.shape[2:]
    row, column = -(-top // factor), -(-left // factor)
    size = ((row - (-(height + bottom) // factor)) * factor, (column - (-(width + right) // factor)) * factor)

    # Pixels of the canvas: the original's, and those that the result has beside them.
    y, x = row * factor, column * factor
    original, wanted = torch.zeros(2, *size, dtype=torch.bool, device=classes.device)
    original[y : y + height, x : x + width] = True
    wanted[y - top : y + height + bottom, x - left : x + width + right] = True
    unknown = F.max_pool2d((wanted & ~original).float()[None], factor)[0] > 0

    whole_cells = F.pad(pixels[:, :3], (0, -width % factor, 0, -height % factor), mode="replicate")
    limit = options.batch or len(pixels)
    given = torch.cat([tokenizer.encode(some).to(classes.device) for some in whole_cells.split(limit)])
    ids = F.pad(
        given,
        (
            column,
            unknown.shape[1] - column - given.shape[2],
            row,
            unknown.shape[0] - row - given.shape[1],
        ),
    )
    canvas = Canvas(ids, (~unknown).expand(len(ids), -1, -1).clone())
    decoded = fill(model, canvas, classes, options, overlap, on_call=on_call)

    # All cells at once: windows leave no border in the pixels.
    drawn = torch.cat([tokenizer.decode(some).to(pixels) for some in decoded.ids.split(limit)])
    out = drawn[:, :, y - top : y + height + bottom, x - left : x + width + right]
    margins = (left, right, top, bottom)
    error = F.pad(pixels[:, :3] - out[:, :, top : top + height, left : left + width], margins, mode="replicate")
    out = (out + error * fade_out(height, width, margins, seam).to(error)).clamp(0, 1)
    if pixels.shape[1] == 4:
        out = torch.cat([out, torch.ones_like(out[:, :1])], 1)
    out[:, :, top : top + height, left : left + width] = pixels
    return Outpainted(out, decoded, row, column)


def fade_out(height: int, width: int, margins: tuple[int, int, int, int], seam: int) -> Tensor:
    """1 on a rectangle, falling outside of it to 0 over `seam` pixels; `margins` are left, right, top, bottom."""
    left, right, top, bottom = margins
    y, x = torch.arange(-top, height + bottom), torch.arange(-left, width + right)
    away_y = torch.maximum(-y, y - height + 1).clamp(min=0)[:, None]
    away_x = torch.maximum(-x, x - width + 1).clamp(min=0)
    return (1 - torch.hypot(away_y.float(), away_x.float()) / (seam + 1)).clamp(min=0)
