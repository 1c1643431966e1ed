"""The VQGAN of MaskGIT (arXiv 2202.04200, section 3.1) as TiTok releases it; its key names are the parameter names."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from . import layers
from .codebook import Codebook
from .tokenizer import Levels, Tokenizer, in_turn


@dataclass(frozen=True)
class MaskGITConfig(Levels):
    """The defaults are the release (`maskgit-vqgan-imagenet-f16-256.bin`).

    `multipliers` widen `channels` level by level, finest first; the encoder ends in `codebook_dim` channels.
    """

    channels: int = 128
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    res_blocks: int = 2
    codebook_size: int = 1024
    codebook_dim: int = 256
    norm_groups: int = 32


class MaskGITTokenizer(Tokenizer):
    """Codes and encoder vectors are compared at their own length. Decoded pixels are clamped to 0…1."""

    def __init__(self, config: MaskGITConfig, device=None, dtype=None, operations=layers):
        super().__init__()
        factory = {"operations": operations, "device": device, "dtype": dtype}
        self.config = config
        self.encoder = Encoder(config, **factory)
        self.quantize = Codebook(config.codebook_size, config.codebook_dim, normalised=False, **factory)
        self.decoder = Decoder(config, **factory)

    def pre_quant(self, pixels: Tensor) -> Tensor:
        """pixels [B, 3, H, W] in 0…1 -> [B, C, h, w]. Raises ValueError as `encode` does."""
        self.check_pixels(pixels)
        return self.encoder(pixels)

    def decode_vectors(self, vectors: Tensor) -> Tensor:
        """vectors [B, C, h, w], taken as they are -> pixels [B, 3, H, W] in 0…1."""
        self.quantize.check(vectors)
        return self.decoder(vectors).clamp(0, 1)


class Encoder(nn.Module):
    """pixels [B, 3, H, W] -> [B, C, h, w]."""

    def __init__(self, config: MaskGITConfig, operations, **factory):
        super().__init__()
        layers = {"groups": config.norm_groups, "operations": operations, **factory}
        widths = config.widths
        # TensorFlow's "same" padding, which the release asks for, is symmetric for stride 1 and odd kernels.
        self.conv_in = operations.Conv2d(3, config.channels, 3, padding=1, bias=False, **factory)
        self.down = nn.ModuleList(
            Level(width_in, width, config.res_blocks, **layers)
            for width_in, width in pairwise([config.channels, *widths])
        )
        self.mid = nn.ModuleList(ResBlock(widths[-1], widths[-1], **layers) for _ in range(config.res_blocks))
        self.norm_out = operations.GroupNorm(config.norm_groups, widths[-1], eps=1e-6, **factory)
        self.conv_out = operations.Conv2d(widths[-1], config.codebook_dim, 1, **factory)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for i, level in enumerate(self.down):
            if i:
                x = F.avg_pool2d(x, 2)
            for block in level.block:
                x = block(x)
        for block in self.mid:
            x = block(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class Decoder(nn.Module):
    """[B, C, h, w] -> pixels [B, 3, H, W], not clamped. `up` counts from the finest level and runs from its end."""

    def __init__(self, config: MaskGITConfig, operations, **factory):
        super().__init__()
        layers = {"groups": config.norm_groups, "operations": operations, **factory}
        widths = config.widths
        self.conv_in = operations.Conv2d(config.codebook_dim, widths[-1], 3, padding=1, **factory)
        self.mid = nn.ModuleList(ResBlock(widths[-1], widths[-1], **layers) for _ in range(config.res_blocks))
        self.up = nn.ModuleList()
        for i, (width, width_in) in enumerate(pairwise([*widths, widths[-1]])):
            level = Level(width_in, width, config.res_blocks, **layers)
            if i:
                level.upsample_conv = operations.Conv2d(width, width, 3, padding=1, **factory)
            self.up.append(level)
        self.norm_out = operations.GroupNorm(config.norm_groups, widths[0], eps=1e-6, **factory)
        self.conv_out = operations.Conv2d(widths[0], 3, 3, padding=1, **factory)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for block in self.mid:
            x = block(x)
        for level in reversed(self.up):
            for block in level.block:
                x = block(x)
            if level is not self.up[0]:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
                x = level.upsample_conv(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class Level(nn.Module):
    """The residual blocks of one resolution. The caller runs them one by one, see `llamagen.Level`."""

    def __init__(self, width_in: int, width: int, blocks: int, **layers):
        super().__init__()
        self.block = nn.ModuleList(ResBlock(width if i else width_in, width, **layers) for i in range(blocks))


class ResBlock(nn.Module):
    def __init__(self, width_in: int, width: int, groups: int, operations, **factory):
        super().__init__()
        self.norm1 = operations.GroupNorm(groups, width_in, eps=1e-6, **factory)
        self.conv1 = operations.Conv2d(width_in, width, 3, padding=1, bias=False, **factory)
        self.norm2 = operations.GroupNorm(groups, width, eps=1e-6, **factory)
        self.conv2 = operations.Conv2d(width, width, 3, padding=1, bias=False, **factory)
        self.nin_shortcut = operations.Conv2d(width, width, 1, bias=False, **factory) if width_in != width else None

    def forward(self, x: Tensor) -> Tensor:
        h = in_turn((self.norm1, F.silu, self.conv1, self.norm2, F.silu, self.conv2), x)
        # The shortcut of the released weights was trained on the block's output, not on its input.
        return h + (x if self.nin_shortcut is None else self.nin_shortcut(h))
