"""Extend a picture beyond its edges."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..decoding.canvas import Canvas
from ..decoding.conditions import PromptBatch
from ..decoding.loop import DecodeProgress, OnStep
from ..decoding.options import DecodingOptions
from .blending import edge_of, fade_out, push_pull
from .checks import batch_of, check_pixels, match_batches
from .fill import fill


@dataclass(frozen=True)
class OutpaintResult:
    """`pixels` `[B, C, top + H + bottom, left + W + right]`, and the tokens of the canvas `[B, h, w]` they lie on.

    The picture's top left pixel lies in the cell (`row`, `column`) of the canvas, that of the result `top` and `left`
    pixels from the canvas's own.
    """

    pixels: Tensor
    decoded: DecodeProgress
    row: int
    column: int
    top: int
    left: int


@dataclass(frozen=True)
class Axis:
    """Where a picture of `length` pixels that grows by `before` and `after` lies on the cells of an axis.

    It begins at the border of a cell, so that only its last cell may be filled in part. Where it grows at its end
    alone, it ends at the border of a cell, so that this cell holds no new pixel.
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
        """Pixels that the picture's first and last cell have outside of it."""
        return self.start % self.factor, -(self.start + self.length) % self.factor

    @property
    def cells(self) -> int:
        return -(-(self.start + self.length + self.after) // self.factor)

    @property
    def covered(self) -> slice:
        """Cells that hold pixels of the picture."""
        return slice(self.start // self.factor, -(-(self.start + self.length) // self.factor))

    @property
    def cells_around(self) -> tuple[int, int]:
        """Cells before and after those that hold pixels of the picture."""
        return self.covered.start, self.cells - self.covered.stop

    @property
    def known(self) -> slice:
        """Covered cells without new pixels; the picture's first cell in any case, so that one is known."""
        partly_new = self.after > 0 and self.padding[1] > 0
        return slice(self.covered.start, max(self.covered.start + 1, self.covered.stop - partly_new))


def axes_of(height: int, width: int, factor: int, left: int, top: int, right: int, bottom: int) -> tuple[Axis, Axis]:
    """The axes, y and x, of a picture that grows by `left`, `top`, `right` and `bottom` pixels."""
    return Axis(height, top, bottom, factor), Axis(width, left, right, factor)


def known_cells(y: Axis, x: Axis) -> Tensor:
    """The cells `[h, w]` bool of the canvas that are known before anything is drawn, on the CPU."""
    known = torch.zeros(y.cells, x.cells, dtype=torch.bool, device="cpu")
    known[y.known, x.known] = True
    return known


@torch.no_grad()
def outpaint(
    model,
    tokenizer,
    pixels: Tensor,
    prompts: Tensor | PromptBatch,
    options: DecodingOptions,
    left: int = 0,
    top: int = 0,
    right: int = 0,
    bottom: int = 0,
    overlap: int | None = None,
    seam: int = 64,
    on_step: OnStep | None = None,
) -> OutpaintResult:
    """Extend `pixels` on each side. The original pixels stay, bit for bit.

    model, tokenizer: a transformer of any family and the tokenizer that it was trained with.
    pixels: `[B, C, H, W]` in 0…1; C is 3, or 4 with an alpha.
    prompts: class ids `[B]` or `PromptBatch`; regions cover the whole canvas. One entry or as many as pictures.
    options: how to decode.
    left, top, right, bottom: pixels to add.
    overlap: cells by which a window overlaps what was drawn before, see `fill`.
    seam: pixels over which the tokenizer's error at the old edge is removed from the new pixels, less and less.
    on_step: sees the whole canvas.

    Pixels are taken as they are: the model's window covers grid · factor of them, whatever the size of the picture. The
    cells are laid so that as few as possible hold old pixels and new ones (see `Axis`). A cell is drawn if it holds a
    new pixel. Of a picture narrower than a cell this cell is known, with the edge repeated in it. Runs on the device of
    `prompts`. Raises ValueError for an amount below 0.
    """
    if min(left, top, right, bottom) < 0:
        raise ValueError(
            f"The picture is to grow by left {left}, top {top}, right {right}, bottom {bottom} pixels; "
            "none may be below 0 (crop the picture instead)."
        )
    if seam < 0:
        raise ValueError(f"The seam is {seam} pixels wide; it may not be below 0.")
    prompts = PromptBatch.of(prompts)
    device = prompts.device
    check_pixels(pixels)
    batch = batch_of(pictures=len(pixels), classes=len(prompts))
    pixels = match_batches(batch, pixels)[0].to(device)
    height, width = pixels.shape[2:]
    y, x = axes_of(height, width, tokenizer.factor, left, top, right, bottom)

    limit = options.batch_size or batch
    canvas = Canvas.empty(batch, y.cells, x.cells, device)
    ids = encode_with_edges(tokenizer, pixels[:, :3], y, x, model.config.grid // 4, limit)
    canvas.ids[:, y.covered, x.covered] = ids.to(device)
    canvas.known[:] = known_cells(y, x).to(device)
    decoded = fill(model, canvas, prompts.repeated(batch), options, overlap, on_step=on_step)

    # All cells together, not window by window: windows leave no border in the pixels.
    drawn = torch.cat([tokenizer.decode(chunk).to(pixels) for chunk in decoded.ids.split(limit)])
    out = drawn[:, :, y.start - top :, x.start - left :][:, :, : top + height + bottom, : left + width + right]
    margins = (left, right, top, bottom)
    error = F.pad(pixels[:, :3] - out[:, :, top : top + height, left : left + width], margins)
    new = F.pad(torch.zeros(1, height, width, dtype=torch.bool, device=out.device), margins, value=True)
    error = push_pull(error, edge_of(~new, new)).mul_(fade_out(height, width, margins, seam).to(out))
    out = error.add_(out).clamp_(0, 1)
    if pixels.shape[1] == 4:
        out = torch.cat([out, torch.ones_like(out[:, :1])], 1)
    out[:, :, top : top + height, left : left + width] = pixels
    return OutpaintResult(out, decoded, y.covered.start, x.covered.start, y.start - top, x.start - left)


def encode_with_edges(tokenizer, pixels: Tensor, y: Axis, x: Axis, reach: int, batch_size: int) -> Tensor:
    """Ids `[B, h, w]` of the cells that hold a picture, encoded as a part of a larger picture.

    tokenizer: encodes.
    pixels: `[B, 3, H, W]`, the picture.
    y, x: where it lies on the cells.
    reach: cells over which its edge is repeated at most.
    batch_size: pictures that are encoded together at most.

    Where the picture grows, its edge is repeated for the tokenizer, which would otherwise see the end of a picture
    there. Of the cells along a cut through pictures of shapes one in eight kept its id, with a repeated edge three in
    five (a convolutional tokenizer, that of the model built in before 0.2.0).
    """
    rows, columns = ([min(cells, reach) for cells in axis.cells_around] for axis in (y, x))
    padding = [p + cells * x.factor for p, cells in zip((*x.padding, *y.padding), (*columns, *rows), strict=True)]
    extended = F.pad(pixels, padding, mode="replicate")
    ids = torch.cat([tokenizer.encode(chunk) for chunk in extended.split(batch_size)])
    return ids[:, rows[0] : ids.shape[1] - rows[1], columns[0] : ids.shape[2] - columns[1]]
