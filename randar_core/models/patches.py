"""A tokenizer whose codes are patches of pixels, for models that are small and quick.

A picture's ids are those of the nearest patches of its codebook, so there is no encoder to learn. The decoder lays the
patches side by side and corrects them in stages, the first of which sees whole patches: convolutional networks with
residual blocks without norms (EDSR, arXiv 1707.02921) on blocks of pixels (arXiv 1609.05158).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from . import layers
from .codebook import Codebook
from .tokenizer import Tokenizer, check_margin, in_turn


@dataclass(frozen=True)
class PatchConfig:
    """`factor` is the side of a patch in pixels; `margin` is that of `LlamaGenConfig`.

    The decoder has a stage for each of `blocks`, pixels along one side of a block, with so many channels (`widths`) and
    residual blocks. Raises ValueError without stages, where blocks don't divide patches, where the three differ in
    length, for channels or residual blocks below 1, and for a margin below 0.
    """

    codebook_size: int = 2048
    factor: int = 8
    blocks: tuple[int, ...] = (8, 2)
    widths: tuple[int, ...] = (112, 48)
    res_blocks: tuple[int, ...] = (5, 3)
    margin: int = 1

    def __post_init__(self):
        # JSON knows no tuples.
        for name in ("blocks", "widths", "res_blocks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not len(self.blocks) == len(self.widths) == len(self.res_blocks):
            raise ValueError(
                f"The decoder has {len(self.blocks)} blocks, {len(self.widths)} widths and {len(self.res_blocks)} "
                "numbers of residual blocks; each stage needs one of each."
            )
        if not self.blocks or min(*self.widths, *self.res_blocks) < 1:
            raise ValueError("The decoder needs a stage at least, each of one channel and one residual block or more.")
        if uneven := [block for block in self.blocks if block < 1 or self.factor % block]:
            raise ValueError(f"Blocks of {uneven[0]} pixels don't divide patches of {self.factor}.")
        check_margin(self.margin)

    @property
    def stages(self) -> list[tuple[int, int, int]]:
        """Block, channels and residual blocks of each stage of the decoder."""
        return list(zip(self.blocks, self.widths, self.res_blocks, strict=True))

    @property
    def codebook_dim(self) -> int:
        """A patch's pixels in three colours."""
        return 3 * self.factor**2


class PatchTokenizer(Tokenizer):
    """Codes and patches are compared pixel by pixel, in −1…1. Decoded pixels are not clamped."""

    learns = True

    def __init__(self, config: PatchConfig, device=None, dtype=None, operations=layers):
        super().__init__()
        factory = {"operations": operations, "device": device, "dtype": dtype}
        self.config = config
        self.encoder = nn.PixelUnshuffle(config.factor)
        self.quantize = Codebook(config.codebook_size, config.codebook_dim, normalised=False, **factory)
        self.decoder = Decoder(config, **factory)

    @property
    def margin(self) -> int:
        return self.config.margin

    @property
    def encoded_channels(self) -> int:
        return 3

    @property
    def decoded_channels(self) -> int:
        """Those of the pixels, and the channels of a block as if they were those of its pixels."""
        return 3 + max(-(-width // block**2) for block, width, _ in self.config.stages)

    def pre_quant(self, pixels: Tensor) -> Tensor:
        """pixels [B, 3, H, W] in 0…1 -> [B, 3 f f, h, w]. Raises ValueError as `encode` does."""
        self.check_pixels(pixels)
        return self.encoder(2 * pixels - 1)

    def decode_vectors(self, vectors: Tensor) -> Tensor:
        """vectors [B, 3 f f, h, w], taken as they are -> pixels [B, 3, H, W], about 0…1 and not clamped."""
        self.quantize.check(vectors)
        return (self.in_margin(lambda x: self.decoder(F.pixel_shuffle(x, self.factor)), vectors) + 1) / 2


class Decoder(nn.Module):
    """Patches side by side, pixels [B, 3, H, W] -> the same, corrected."""

    def __init__(self, config: PatchConfig, operations, **factory):
        super().__init__()
        conv = {"kernel_size": 3, "padding": 1, **factory}
        self.stages = nn.ModuleList(Stage(*stage, operations, **conv) for stage in config.stages)

    def forward(self, x: Tensor) -> Tensor:
        return in_turn(self.stages, x)


class Stage(nn.Module):
    """Pixels [B, 3, H, W] -> the same with a correction, which is found on blocks of `block` pixels a side."""

    def __init__(self, block: int, width: int, res_blocks: int, operations, **conv):
        super().__init__()
        self.block = block
        self.conv_in = operations.Conv2d(3 * block**2, width, **conv)
        self.res = nn.ModuleList(ResBlock(width, operations, **conv) for _ in range(res_blocks))
        self.conv_out = operations.Conv2d(width, 3 * block**2, **conv)

    def forward(self, x: Tensor) -> Tensor:
        correction = in_turn((self.conv_in, *self.res, self.conv_out), F.pixel_unshuffle(x, self.block))
        return x + F.pixel_shuffle(correction, self.block)


class ResBlock(nn.Module):
    def __init__(self, width: int, operations, **conv):
        super().__init__()
        self.conv1 = operations.Conv2d(width, width, **conv)
        self.conv2 = operations.Conv2d(width, width, **conv)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(x)))
