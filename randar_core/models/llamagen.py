"""The VQ-16 tokenizer of LlamaGen (arXiv 2406.06525, section 3.1), with the released key names as parameter names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from . import layers
from .codebook import Codebook
from .tokenizer import Levels, Tokenizer, check_margin, in_turn


@dataclass(frozen=True)
class LlamaGenConfig(Levels):
    """The defaults are the release (`vq_ds16_c2i.pt`). `multipliers` widen `channels` level by level, finest first.

    `decoder_multipliers` are those of the decoder; None: the encoder's. The decoder decodes `margin` cells more on each
    side, which repeat the outermost, and cuts them off again: outside of a picture convolutions see zeros, which
    without a margin show as a line along its edge. Raises ValueError for a margin below 0, and for another number of
    `decoder_multipliers` than of `multipliers`.
    """

    channels: int = 128
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    res_blocks: int = 2
    codebook_size: int = 16384
    codebook_dim: int = 8
    z_channels: int = 256
    norm_groups: int = 32
    decoder_multipliers: tuple[int, ...] | None = None
    margin: int = 0

    def __post_init__(self):
        super().__post_init__()
        check_margin(self.margin)
        if self.decoder_multipliers is None:
            return
        object.__setattr__(self, "decoder_multipliers", tuple(self.decoder_multipliers))
        if len(self.decoder_multipliers) != len(self.multipliers):
            raise ValueError(
                f"The tokenizer's decoder has {len(self.decoder_multipliers)} levels, its encoder "
                f"{len(self.multipliers)}; give both the same number of multipliers."
            )
        self.check_groups(self.decoder_widths)

    @property
    def decoder_widths(self) -> list[int]:
        """Channels of each level of the decoder, the finest first."""
        return [self.channels * multiplier for multiplier in self.decoder_multipliers or self.multipliers]


class LlamaGenTokenizer(Tokenizer):
    """Codes and encoder vectors are compared at length one. Decoded pixels are not clamped."""

    learns = True

    def __init__(self, config: LlamaGenConfig, device=None, dtype=None, operations=layers):
        super().__init__()
        factory = {"operations": operations, "device": device, "dtype": dtype}
        conv = {"kernel_size": 1, "device": device, "dtype": dtype}
        self.config = config
        self.encoder = Encoder(config, **factory)
        self.quant_conv = operations.Conv2d(config.z_channels, config.codebook_dim, **conv)
        self.quantize = Codebook(config.codebook_size, config.codebook_dim, normalised=True, **factory)
        self.post_quant_conv = operations.Conv2d(config.codebook_dim, config.z_channels, **conv)
        self.decoder = Decoder(config, **factory)

    @property
    def margin(self) -> int:
        return self.config.margin

    @property
    def decoded_channels(self) -> int:
        return max(self.config.decoder_widths[:2])

    def pre_quant(self, pixels: Tensor) -> Tensor:
        """pixels [B, 3, H, W] in 0…1 -> [B, C, h, w], not yet of length one. Raises ValueError as `encode` does."""
        self.check_pixels(pixels)
        return self.quant_conv(self.encoder(2 * pixels - 1))

    def decode_vectors(self, vectors: Tensor) -> Tensor:
        """vectors [B, C, h, w], taken as they are -> pixels [B, 3, H, W], about 0…1 and not clamped."""
        self.quantize.check(vectors)
        return (self.in_margin(lambda x: self.decoder(self.post_quant_conv(x)), vectors) + 1) / 2


class Encoder(nn.Module):
    """pixels [B, 3, H, W] in −1…1 -> [B, Z, h, w]."""

    def __init__(self, config: LlamaGenConfig, operations, **factory):
        super().__init__()
        layers = {"groups": config.norm_groups, "operations": operations, **factory}
        widths, last = config.widths, len(config.widths) - 1
        self.conv_in = operations.Conv2d(3, config.channels, 3, padding=1, **factory)
        self.conv_blocks = nn.ModuleList()
        for i, (width_in, width) in enumerate(pairwise([config.channels, *widths])):
            level = Level(width_in, width, config.res_blocks, attention=i == last, **layers)
            level.downsample = nn.Identity() if i == last else Downsample(width, operations, **factory)
            self.conv_blocks.append(level)
        self.mid = middle(widths[-1], **layers)
        self.norm_out = operations.GroupNorm(config.norm_groups, widths[-1], eps=1e-6, **factory)
        self.conv_out = operations.Conv2d(widths[-1], config.z_channels, 3, padding=1, **factory)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.conv_blocks:
            for layer in (*level.layers(), level.downsample):
                x = layer(x)
        for block in self.mid:
            x = block(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class Decoder(nn.Module):
    """[B, Z, h, w] -> pixels [B, 3, H, W] in about −1…1, the widest level first, a residual block more a level."""

    def __init__(self, config: LlamaGenConfig, operations, **factory):
        super().__init__()
        layers = {"groups": config.norm_groups, "operations": operations, **factory}
        widths, last = config.decoder_widths[::-1], len(config.widths) - 1
        self.conv_in = operations.Conv2d(config.z_channels, widths[0], 3, padding=1, **factory)
        self.mid = middle(widths[0], **layers)
        self.conv_blocks = nn.ModuleList()
        for i, (width_in, width) in enumerate(pairwise([widths[0], *widths])):
            level = Level(width_in, width, config.res_blocks + 1, attention=i == 0, **layers)
            level.upsample = nn.Identity() if i == last else Upsample(width, operations, **factory)
            self.conv_blocks.append(level)
        self.norm_out = operations.GroupNorm(config.norm_groups, widths[-1], eps=1e-6, **factory)
        self.conv_out = operations.Conv2d(widths[-1], 3, 3, padding=1, **factory)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for block in self.mid:
            x = block(x)
        for level in self.conv_blocks:
            for layer in (*level.layers(), level.upsample):
                x = layer(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class Level(nn.Module):
    """The residual blocks of one resolution, each followed by attention where the level has it.

    The caller runs `layers` one by one, so that only one layer's input is held. At full size such tensors take most of
    a picture's memory.
    """

    def __init__(self, width_in: int, width: int, blocks: int, attention: bool, **layers):
        super().__init__()
        self.res = nn.ModuleList(ResBlock(width if i else width_in, width, **layers) for i in range(blocks))
        self.attn = nn.ModuleList(Attention(width, **layers) for _ in range(blocks if attention else 0))

    def layers(self) -> Iterator[nn.Module]:
        for i, block in enumerate(self.res):
            yield block
            if self.attn:
                yield self.attn[i]


def middle(width: int, **layers) -> nn.ModuleList:
    return nn.ModuleList(
        [ResBlock(width, width, **layers), Attention(width, **layers), ResBlock(width, width, **layers)]
    )


class ResBlock(nn.Module):
    def __init__(self, width_in: int, width: int, groups: int, operations, **factory):
        super().__init__()
        self.norm1 = operations.GroupNorm(groups, width_in, eps=1e-6, **factory)
        self.conv1 = operations.Conv2d(width_in, width, 3, padding=1, **factory)
        self.norm2 = operations.GroupNorm(groups, width, eps=1e-6, **factory)
        self.conv2 = operations.Conv2d(width, width, 3, padding=1, **factory)
        self.nin_shortcut = nn.Identity() if width_in == width else operations.Conv2d(width_in, width, 1, **factory)

    def forward(self, x: Tensor) -> Tensor:
        h = in_turn((self.norm1, F.silu, self.conv1, self.norm2, F.silu, self.conv2), x)
        return self.nin_shortcut(x) + h


class Attention(nn.Module):
    """One head over all positions."""

    def __init__(self, width: int, groups: int, operations, **factory):
        super().__init__()
        self.norm = operations.GroupNorm(groups, width, eps=1e-6, **factory)
        self.q = operations.Conv2d(width, width, 1, **factory)
        self.k = operations.Conv2d(width, width, 1, **factory)
        self.v = operations.Conv2d(width, width, 1, **factory)
        self.proj_out = operations.Conv2d(width, width, 1, **factory)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (rearrange(layer(h), "b c h w -> b 1 (h w) c") for layer in (self.q, self.k, self.v))
        h = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(rearrange(h, "b 1 (h w) c -> b c h w", h=x.shape[2]))


class Downsample(nn.Module):
    def __init__(self, width: int, operations, **factory):
        super().__init__()
        self.conv = operations.Conv2d(width, width, 3, stride=2, **factory)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    def __init__(self, width: int, operations, **factory):
        super().__init__()
        self.conv = operations.Conv2d(width, width, 3, padding=1, **factory)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
