"""Extend a picture beyond its edges."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..decoding.canvas import Canvas
from ..decoding.loop import Decoded, OnCall
from ..decoding.options import DecodingOptions, check_pixels, one_each
from ..decoding.windows import fill
from .blending import carried_on, edge_of, fade_out


@dataclass(frozen=True)
class Outpainted:
    """`pixels` `[B, C, top + H + bottom, left + W + right]`, and the tokens of the canvas `[B, h, w]` they lie on.

    The picture's top left pixel lies in the cell (`row`, `column`) of the canvas, that of the result `top` and `left`
    pixels from the canvas's own.
    """

    pixels: Tensor
    decoded: Decoded
    row: int
    column: int
    top: int
    left: int


@dataclass(frozen=True)
class Axis:
    """Where a picture of `length` pixels that grows by `before` and `after` lies on the cells of an axis.

    It begins with a cell, so that the cell that it fills in part is its last; it ends with one where it grows there
    only, so that this cell holds no new pixel.
    """

    length: int
    before: int
    after: int
    factor: int

    @property
    def start(self) -> int:
        """The picture's first pixel, from the canvas's."""
        return (
            -self.length % self.factor
            if self.after and not self.before
            else -(-self.before // self.factor) * self.factor
        )

    @property
    def padding(self) -> tuple[int, int]:
        """Pixels that the picture's first cell and its last have beside it."""
        return self.start % self.factor, -(self.start + self.length) % self.factor

    @property
    def cells(self) -> int:
        return -(-(self.start + self.length + self.after) // self.factor)

    @property
    def given(self) -> slice:
        """Cells that hold pixels of the picture."""
        return slice(self.start // self.factor, -(-(self.start + self.length) // self.factor))

    @property
    def beside(self) -> tuple[int, int]:
        """Cells before and after those that hold pixels of the picture."""
        return self.given.start, self.cells - self.given.stop

    @property
    def known(self) -> slice:
        """Those without new pixels; the picture's first cell in any case, lest nothing of it be known."""
        partly_new = self.after > 0 and self.padding[1] > 0
        return slice(self.given.start, max(self.given.start + 1, self.given.stop - partly_new))


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
    seam: int = 64,
    on_call: OnCall | None = None,
) -> Outpainted:
    """Extend `pixels` `[B, C, H, W]` (C 3, or 4 with an alpha; 0…1) by so many pixels on each side.

    Pixels are taken as they are: the model's window covers grid · factor of them, whatever the size of the picture; it
    slides as `fill` says, with `overlap`. The cells are laid so that as few as can be hold old pixels beside new ones
    (see `Axis`). A cell is drawn if it holds a new pixel; but of a picture narrower than a cell this cell is known, its
    edge repeated in it. The original pixels stay, bit for bit. What the tokenizer gets wrong at their edge is taken off
    the new pixels too (`carried_on`), less and less over `seam` pixels. `on_call` sees the whole canvas. Runs where
    `classes` lie. Raises ValueError for an amount below 0.
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
    height, width = pixels.shape[2:]
    y, x = Axis(height, top, bottom, tokenizer.factor), Axis(width, left, right, tokenizer.factor)

    limit = options.batch or len(pixels)
    given = encode_amid(tokenizer, pixels[:, :3], y, x, model.config.grid // 4, limit).to(classes.device)
    canvas = Canvas.empty(len(pixels), y.cells, x.cells, classes.device)
    canvas.ids[:, y.given, x.given] = given
    canvas.known[:, y.known, x.known] = True
    decoded = fill(model, canvas, classes, options, overlap, on_call=on_call)

    # All cells together, not window by window: windows leave no border in the pixels.
    drawn = torch.cat([tokenizer.decode(some).to(pixels) for some in decoded.ids.split(limit)])
    out = drawn[:, :, y.start - top :, x.start - left :][:, :, : top + height + bottom, : left + width + right]
    margins = (left, right, top, bottom)
    error = F.pad(pixels[:, :3] - out[:, :, top : top + height, left : left + width], margins)
    new = F.pad(torch.zeros(1, height, width, dtype=torch.bool, device=out.device), margins, value=True)
    error = carried_on(error, edge_of(~new, new)).mul_(fade_out(height, width, margins, seam).to(out))
    out = error.add_(out).clamp_(0, 1)
    if pixels.shape[1] == 4:
        out = torch.cat([out, torch.ones_like(out[:, :1])], 1)
    out[:, :, top : top + height, left : left + width] = pixels
    return Outpainted(out, decoded, y.given.start, x.given.start, y.start - top, x.start - left)


def encode_amid(tokenizer, pixels: Tensor, y: Axis, x: Axis, reach: int, batch: int) -> Tensor:
    """The ids `[B, h, w]` of the cells that hold `pixels` `[B, 3, H, W]`, as of a part of a larger picture.

    Where the picture is to grow, its edge is repeated over up to `reach` cells for the tokenizer, which else sees the
    end of a picture there: of the cells along a cut through the built-in model's pictures one in eight kept its id,
    with a repeated edge it is three in five.
    """
    rows, columns = ([min(cells, reach) for cells in axis.beside] for axis in (y, x))
    padding = [p + cells * x.factor for p, cells in zip((*x.padding, *y.padding), (*columns, *rows), strict=True)]
    extended = F.pad(pixels, padding, mode="replicate")
    ids = torch.cat([tokenizer.encode(some) for some in extended.split(batch)])
    return ids[:, rows[0] : ids.shape[1] - rows[1], columns[0] : ids.shape[2] - columns[1]]
