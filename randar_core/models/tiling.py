"""Large batches and large pictures through a tokenizer: in slices, and in overlapping tiles."""

from collections.abc import Callable

import torch
from torch import Tensor

# Pixels that `encode` and `decode` take at once, a whole picture at least: a larger batch goes slice by slice. A CPU is
# quickest with 256×256 at a time (benchmarks/speed). 2^20 are 16 pictures of that size and take the released tokenizers
# about 0.8 GB in 16 bits, twice that in 32.
PIXELS_AT_ONCE, PIXELS_AT_ONCE_ON_CPU = 2**20, 2**16
# Tensors of all channels at full size that lie side by side at most: a block's input, and a layer's input and output,
# without what a GPU's kernels allocate for themselves. The convolutions of a CPU hold one more, in their own layout.
TENSORS_AT_ONCE, TENSORS_AT_ONCE_ON_CPU = 3, 4
# A picture that would take more bytes than this at its peak goes in overlapping tiles of TILE_SIDE cells: with the
# released tokenizers one of more than 2 megapixels in 16 bits. All others go whole: a tile's colours can differ from
# its neighbours', since layers average over all that they see.
WHOLE_BYTES = 7 * 2**28
TILE_SIDE, TILE_OVERLAP = 64, 8


def pictures_at_once(height: int, width: int, device: torch.device) -> int:
    """How many pictures of `height` × `width` pixels go through a tokenizer together, one at least."""
    pixels = PIXELS_AT_ONCE_ON_CPU if device.type == "cpu" else PIXELS_AT_ONCE
    return max(1, pixels // max(1, height * width))


def peak_bytes(channels: int, pixels: int, dtype: torch.dtype, device: torch.device) -> int:
    """Bytes that an encoder or decoder with `channels` at full size takes at its peak for `pixels` in one piece."""
    tensors = TENSORS_AT_ONCE_ON_CPU if device.type == "cpu" else TENSORS_AT_ONCE
    return tensors * channels * pixels * dtype.itemsize


def largest_piece(height: int, width: int, factor: int, at_most: int) -> tuple[int, int]:
    """Height and width in pixels of the largest piece in which `in_tiles_if_large` takes a picture of these sides.

    factor: pixels along one side of a cell.
    at_most: pixels of a picture that is taken whole.
    """
    if height * width <= at_most:
        return height, width
    return min(height, TILE_SIDE * factor), min(width, TILE_SIDE * factor)


def largest_whole(encoder_channels: int, decoder_channels: int, element_bytes: int) -> int:
    """Pixels of the largest picture that doesn't go in tiles, by the channels at full size.

    It is the same on all devices, so that all give the same picture.
    """
    return WHOLE_BYTES // (TENSORS_AT_ONCE * max(encoder_channels, decoder_channels) * element_bytes)


def in_tiles_if_large(
    run: Callable[[Tensor], Tensor], whole: Tensor, unit_in: int, unit_out: int, at_most: int
) -> Tensor:
    """`run(whole)` for `whole` `[B, C, H, W]`; tile by tile where that is more than `at_most` pixels.

    A cell is `unit_in` wide in what `run` takes and `unit_out` in what it gives: one of them is 1, the other the
    tokenizer's factor. Where tiles overlap, one fades into the other, in float32. What layers average over a whole
    picture, or see beyond the overlap, differs a little from tile to tile, and so do the results from the whole's.
    """
    factor = max(unit_in, unit_out)
    rows, columns = (side // unit_in for side in whole.shape[2:])
    if rows * columns * factor**2 <= at_most:
        return run(whole)
    total = weights = None
    for top in tile_starts(rows, TILE_SIDE, TILE_OVERLAP):
        for left in tile_starts(columns, TILE_SIDE, TILE_OVERLAP):
            cells = slice(top, top + TILE_SIDE), slice(left, left + TILE_SIDE)
            tile = run(whole[(..., *(slice(s.start * unit_in, s.stop * unit_in) for s in cells))])
            if total is None:
                size = (*tile.shape[:2], rows * unit_out, columns * unit_out)
                total = torch.zeros(size, dtype=torch.float32, device=tile.device)
                weights = total.new_zeros(total.shape[2:])
            fades = [fade(length, TILE_OVERLAP * unit_out).to(total) for length in tile.shape[2:]]
            opacity = fades[0][:, None] * fades[1]
            there = (..., *(slice(s.start * unit_out, s.stop * unit_out) for s in cells))
            total[there] += tile * opacity
            weights[there] += opacity
    return total.div_(weights).to(tile.dtype)


def tile_starts(length: int, side: int, overlap: int) -> list[int]:
    """Starts of tiles of `side` that cover `length`, evenly spread. Each overlaps the next by `overlap` or more."""
    if length <= side:
        return [0]
    steps = -(-(length - side) // (side - overlap))
    return [index * (length - side) // steps for index in range(steps + 1)]


def fade(length: int, overlap: int) -> Tensor:
    """`[length]`: rising to 1 over `overlap` from either end, also at the end of the picture, where it cancels out."""
    away = torch.arange(1, length + 1, dtype=torch.float32, device="cpu")
    return torch.minimum(away, away.flip(0)).clamp(max=max(1, overlap)) / max(1, overlap)
