"""What both image tokenizers share: the codebook, and the way from pixels to ids and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

# The largest table of distances held at once: 2^25 float32 are 128 MiB.
DISTANCES_AT_ONCE = 2**25
# Pixels that `encode` and `decode` take at once, a whole picture at least: a larger batch goes slice by slice. A CPU is
# quickest with 256×256 at a time (benchmarks/tokenizers.py). 2^20 are 16 pictures of that size and take the released
# tokenizers about 1.4 GB in 16 bits, twice that in 32.
PIXELS_AT_ONCE, PIXELS_AT_ONCE_ON_CPU = 2**20, 2**16
# Bytes at the peak by pixel, channel at full size and byte of the dtype, as measured.
ENCODE_BYTES, DECODE_BYTES = 6.2, 5.2
# A picture that would take more bytes than this at its peak goes in overlapping tiles of so many cells a side: with the
# released tokenizers one of more than 2 megapixels in 16 bits. A tile's colours can drift from its neighbours', since
# layers average over all that they see, so what can goes whole.
WHOLE_BYTES = 7 * 2**29
TILE_SIDE, TILE_OVERLAP = 64, 8
# How many of the codes that a rounded matmul finds nearest are compared exactly; enough for TF32's rounding.
SHORT_LIST = 4


class Levels:
    """What `channels` and `multipliers` of a configuration say: `multipliers` widen `channels`, finest level first.

    Raises ValueError where the groups of its norms don't share the channels of a level evenly.
    """

    def __post_init__(self):
        # JSON knows no tuples.
        object.__setattr__(self, "multipliers", tuple(self.multipliers))
        self.check_groups(self.widths)

    def check_groups(self, widths: Iterable[int]) -> None:
        if uneven := [width for width in widths if width % self.norm_groups]:
            raise ValueError(
                f"The tokenizer's norms have {self.norm_groups} groups, which can't share {uneven[0]} channels evenly. "
                f"Take a number of channels that is a multiple of {self.norm_groups}."
            )

    @property
    def factor(self) -> int:
        """Pixels along one side of a token: each further level halves the sides."""
        return 2 ** (len(self.multipliers) - 1)

    @property
    def widths(self) -> list[int]:
        """Channels of each level, the finest first."""
        return [self.channels * multiplier for multiplier in self.multipliers]


class Codebook(nn.Module):
    """`size` vectors of `dim` channels; `normalised` compares and returns them at length one."""

    def __init__(self, size: int, dim: int, normalised: bool, operations, **factory):
        super().__init__()
        self.size, self.dim, self.normalised = size, dim, normalised
        self.embedding = operations.Embedding(size, dim, **factory)

    def rows(self, ids: Tensor) -> Tensor:
        """ids [...] -> float32 vectors [..., C]."""
        rows = self.embedding(ids).float()
        return F.normalize(rows, dim=-1) if self.normalised else rows

    def vectors(self, ids: Tensor) -> Tensor:
        """ids [B, h, w] -> float32 vectors [B, C, h, w]. Raises ValueError for ids that the codebook does not have."""
        if ids.ndim != 3:
            raise ValueError(f"Token ids have shape {list(ids.shape)}; expected [batch, rows, columns].")
        if ids.numel() and (ids.min() < 0 or ids.max() >= self.size):
            raise ValueError(
                f"Token ids run from {ids.min().item()} to {ids.max().item()}, but this tokenizer's codebook has "
                f"the ids 0 to {self.size - 1}. The tokens probably come from a model with another tokenizer."
            )
        return rearrange(self.rows(ids), "b h w c -> b c h w")

    @torch.no_grad()
    def nearest(self, vectors: Tensor) -> Tensor:
        """vectors [B, C, h, w] -> ids [B, h, w] of the nearest codes by Euclidean distance, in float32.

        Of two to four equally near codes it is the one with the lowest id.
        """
        self.check(vectors)
        with torch.autocast(vectors.device.type, enabled=False):  # or a training would compare in 16 bits
            codes = self.rows(torch.arange(self.size, device=vectors.device))
            points = rearrange(vectors.float(), "b c h w -> (b h w) c")
            points = F.normalize(points, dim=-1) if self.normalised else points
            ids = [_nearest(chunk, codes) for chunk in points.split(max(1, DISTANCES_AT_ONCE // self.size))]
        return rearrange(torch.cat(ids), "(b h w) -> b h w", h=vectors.shape[2], w=vectors.shape[3])

    def check(self, vectors: Tensor) -> None:
        """Raises ValueError unless the vectors are [B, C, h, w] with this codebook's C."""
        if vectors.ndim != 4 or vectors.shape[1] != self.dim:
            raise ValueError(
                f"Codebook vectors have shape {list(vectors.shape)}; this tokenizer expects "
                f"[batch, {self.dim}, rows, columns]."
            )


def _nearest(points: Tensor, codes: Tensor) -> Tensor:
    """points [P, C], codes [V, C], float32 -> ids [P].

    The matmul finds a short list, exact distances decide: a code's own vector gives its id back even where another
    code is nearer than the rounding of the matmul.
    """
    scores = torch.addmm(codes.square().sum(-1), points, codes.T, alpha=-2)
    few = scores.topk(min(SHORT_LIST, len(codes)), largest=False).indices.sort().values
    best = (points[:, None] - codes[few]).square().sum(-1).argmin(-1, keepdim=True)
    return few.gather(1, best).squeeze(1)


class Tokenizer(nn.Module):
    """Pixels [B, 3, H, W] in 0…1 to ids [B, h, w] and back, h = H / factor and w = W / factor.

    A child sets `config` and `quantize` (its Codebook) and writes `pre_quant` and `decode_vectors`, which compute in
    the dtype of what they are given (plain torch.nn layers need that of the weights, casting layers take any).
    `encode` and `decode` compute in the dtype of the weights, a large batch in slices, a large picture in tiles.
    """

    @property
    def factor(self) -> int:
        """Pixels along one side of a token."""
        return self.config.factor

    @property
    def codebook_size(self) -> int:
        return self.config.codebook_size

    @property
    def codebook_dim(self) -> int:
        return self.config.codebook_dim

    @property
    def margin(self) -> int:
        """Cells that are decoded beyond each side of a picture and cut off again."""
        return 0

    @property
    def decoded_channels(self) -> int:
        """Channels at full size in the half that makes pixels."""
        return self.config.channels

    @property
    def whole_at_most(self) -> int:
        """Pixels of the largest picture that isn't taken in tiles."""
        a_pixel = max(ENCODE_BYTES * self.config.channels, DECODE_BYTES * self.decoded_channels)
        return int(WHOLE_BYTES / (a_pixel * self.quantize.embedding.weight.element_size()))

    def encode(self, pixels: Tensor) -> Tensor:
        """pixels [B, 3, H, W] in 0…1 -> ids [B, h, w]. Raises ValueError for sizes that are no multiple of `factor`."""
        self.check_pixels(pixels)
        pixels = pixels.to(self.quantize.embedding.weight.dtype)
        slices = pixels.split(pictures_at_once(*pixels.shape[2:], pixels.device))
        layout = (self.factor, 1, self.whole_at_most)
        return torch.cat([self.nearest(in_tiles_if_large(self.pre_quant, some, *layout)) for some in slices])

    def nearest(self, vectors: Tensor) -> Tensor:
        """vectors [B, C, h, w] -> ids [B, h, w] of the nearest codes. Not differentiable."""
        return self.quantize.nearest(vectors)

    def vectors(self, ids: Tensor) -> Tensor:
        """ids [B, h, w] -> float32 codebook vectors [B, C, h, w]; `nearest` gives exactly these ids back."""
        return self.quantize.vectors(ids)

    def decode(self, ids: Tensor) -> Tensor:
        """ids [B, h, w] -> pixels [B, 3, H, W]. Raises ValueError for ids that the codebook does not have."""
        return self.decode_codes(self.vectors(ids))

    def decode_codes(self, vectors: Tensor) -> Tensor:
        """Codebook vectors [B, C, h, w], or vectors between codes -> pixels [B, 3, H, W]."""
        vectors = vectors.to(self.quantize.embedding.weight.dtype)
        height, width = ((side + 2 * self.margin) * self.factor for side in vectors.shape[2:])
        slices = vectors.split(pictures_at_once(height, width, vectors.device))
        layout = (1, self.factor, self.whole_at_most)
        return torch.cat([in_tiles_if_large(self.decode_vectors, some, *layout) for some in slices])

    def check_pixels(self, pixels: Tensor) -> None:
        """Raises ValueError unless pixels are [B, 3, H, W] with H and W multiples of `factor`."""
        if pixels.ndim != 4 or pixels.shape[1] != 3:
            raise ValueError(f"Pixels have shape {list(pixels.shape)}; expected [batch, 3, height, width].")
        height, width = pixels.shape[2:]
        if height % self.factor or width % self.factor or not height or not width:
            raise ValueError(
                f"The picture is {width}×{height} pixels (width×height); both sides must be multiples of "
                f"{self.factor}, the pixels along one side of a token. Scale or crop it, for example to "
                f"{_multiple(width, self.factor)}×{_multiple(height, self.factor)}."
            )


def pictures_at_once(height: int, width: int, device: torch.device) -> int:
    """How many pictures of `height` × `width` pixels go through a tokenizer together, one at least."""
    pixels = PIXELS_AT_ONCE_ON_CPU if device.type == "cpu" else PIXELS_AT_ONCE
    return max(1, pixels // max(1, height * width))


def in_tiles_if_large(
    run: Callable[[Tensor], Tensor], whole: Tensor, unit_in: int, unit_out: int, at_most: int
) -> Tensor:
    """`run(whole)` for `whole` `[B, C, H, W]`; tile by tile where that is more than `at_most` pixels.

    A cell is `unit_in` wide in what `run` takes and `unit_out` in what it gives: one of them is 1, the other the
    tokenizer's factor. Where tiles overlap, one fades into the other, in float32. What layers average over a whole
    picture differs a little from tile to tile, and so do the results from those of the whole.
    """
    factor = max(unit_in, unit_out)
    rows, columns = (side // unit_in for side in whole.shape[2:])
    if rows * columns * factor**2 <= at_most:
        return run(whole)
    total = weights = None
    for top in tile_starts(rows, TILE_SIDE, TILE_OVERLAP):
        for left in tile_starts(columns, TILE_SIDE, TILE_OVERLAP):
            place = slice(top, top + TILE_SIDE), slice(left, left + TILE_SIDE)
            tile = run(whole[(..., *(slice(s.start * unit_in, s.stop * unit_in) for s in place))])
            if total is None:
                size = (*tile.shape[:2], rows * unit_out, columns * unit_out)
                total = torch.zeros(size, dtype=torch.float32, device=tile.device)
                weights = total.new_zeros(total.shape[2:])
            fades = [fade(length, TILE_OVERLAP * unit_out).to(total) for length in tile.shape[2:]]
            opacity = fades[0][:, None] * fades[1]
            there = (..., *(slice(s.start * unit_out, s.stop * unit_out) for s in place))
            total[there] += tile * opacity
            weights[there] += opacity
    return total.div_(weights).to(tile.dtype)


def tile_starts(length: int, side: int, overlap: int) -> list[int]:
    """Where tiles of `side` begin that cover `length`, evenly spread, `overlap` or more in common with the next."""
    if length <= side:
        return [0]
    steps = -(-(length - side) // (side - overlap))
    return [place * (length - side) // steps for place in range(steps + 1)]


def fade(length: int, overlap: int) -> Tensor:
    """`[length]`: rising to 1 over `overlap` from either end, also where the picture ends and it cancels out."""
    away = torch.arange(1, length + 1, device="cpu")
    return torch.minimum(away, away.flip(0)).clamp(max=max(1, overlap)) / max(1, overlap)


def _multiple(side: int, factor: int) -> int:
    return max(1, round(side / factor)) * factor
