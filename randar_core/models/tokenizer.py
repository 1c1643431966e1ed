"""What all image tokenizers share: the way from pixels to ids and back."""

from collections.abc import Callable, Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .tiling import in_tiles_if_large, largest_whole, pictures_at_once


def check_margin(margin: int) -> None:
    """Raises ValueError for a margin below 0."""
    if margin < 0:
        raise ValueError(f"The margin is {margin} cells; it must be 0 (none) or more.")


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


class Tokenizer(nn.Module):
    """Pixels [B, 3, H, W] in 0…1 to ids [B, h, w] and back, h = H / factor and w = W / factor.

    A child sets `config` and `quantize` (its `Codebook`) and writes `pre_quant` and `decode_vectors`, which compute in
    the dtype of what they are given (plain torch.nn layers need that of the weights, casting layers take any).
    `encode` and `decode` compute in the dtype of the weights, a large batch in slices, a large picture in tiles.
    """

    learns = False
    """Whether it can be trained here."""

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
        """Cells that are decoded outside of each side of a picture and cut off again."""
        return 0

    @property
    def encoded_channels(self) -> int:
        """Channels at full size in the encoder."""
        return max(self.config.channels, self.config.widths[0])

    @property
    def decoded_channels(self) -> int:
        """Channels at full size in the decoder, whose finest level is reached by an upsampling as wide as the next."""
        return max(self.config.widths[:2])

    @property
    def whole_at_most(self) -> int:
        """Pixels of the largest picture that isn't taken in tiles."""
        element_bytes = self.quantize.embedding.weight.element_size()
        return largest_whole(self.encoded_channels, self.decoded_channels, element_bytes)

    def encode(self, pixels: Tensor) -> Tensor:
        """pixels [B, 3, H, W] in 0…1 -> ids [B, h, w]. Raises ValueError as `check_pixels` does."""
        return torch.cat([self.nearest(vectors) for vectors in self.unquantised(pixels)])

    def encode_vectors(self, pixels: Tensor) -> Tensor:
        """pixels [B, 3, H, W] in 0…1 -> [B, C, h, w] for `nearest`. Raises ValueError as `check_pixels` does."""
        return torch.cat(list(self.unquantised(pixels)))

    def unquantised(self, pixels: Tensor) -> Iterator[Tensor]:
        """What `encode_vectors` gives, slice by slice."""
        self.check_pixels(pixels)
        pixels = pixels.to(self.quantize.embedding.weight.dtype)
        for chunk in pixels.split(pictures_at_once(*pixels.shape[2:], pixels.device)):
            yield in_tiles_if_large(self.pre_quant, chunk, self.factor, 1, self.whole_at_most)

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
        return torch.cat([in_tiles_if_large(self.decode_vectors, chunk, *layout) for chunk in slices])

    def in_margin(self, decode: Callable[[Tensor], Tensor], vectors: Tensor) -> Tensor:
        """What `decode` makes of vectors [B, C, h, w] that stand within their margin, without the margin's pixels.

        The margin repeats the outermost vectors: beyond them convolutions see zeros, which show as a line at the edge.
        """
        if not self.margin:
            return decode(vectors)
        pixels = decode(F.pad(vectors, (self.margin,) * 4, mode="replicate"))
        cut, (height, width) = self.margin * self.factor, pixels.shape[2:]
        return pixels[..., cut : height - cut, cut : width - cut]

    def check_pixels(self, pixels: Tensor) -> None:
        """Raises ValueError unless pixels are [B, 3, H, W] with H and W multiples of `factor`."""
        if pixels.ndim != 4 or pixels.shape[1] != 3:
            raise ValueError(f"Pixels have shape {list(pixels.shape)}; expected [batch, 3, height, width].")
        height, width = pixels.shape[2:]
        if height % self.factor or width % self.factor or not height or not width:
            raise ValueError(
                f"The picture is {width}×{height} pixels (width×height); both sides must be multiples of "
                f"{self.factor}, the pixels along one side of a token. Scale or crop it, for example to "
                f"{nearest_multiple(width, self.factor)}×{nearest_multiple(height, self.factor)}."
            )


def in_turn(layers: Iterable[Callable[[Tensor], Tensor]], x: Tensor) -> Tensor:
    """`x` through `layers`, one after another. What one takes is freed before the next one runs, unless it is `x`."""
    for layer in layers:
        x = layer(x)
    return x


def nearest_multiple(side: int, factor: int) -> int:
    return max(1, round(side / factor)) * factor
