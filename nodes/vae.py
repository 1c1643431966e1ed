"""The tokenizer as a VAE of ComfyUI, so that the core's own nodes encode and decode with it.

A LATENT holds the codebook vectors of the tokens, `[B, C, h, w]` in float32; they give exactly these ids back.
"""

import time
from collections.abc import Callable

import comfy.model_management
import comfy.model_patcher
import comfy.utils
import torch
from einops import rearrange
from torch import Tensor

from ..randar_core.models import layers
from ..randar_core.models.codebook import Codebook
from ..randar_core.models.tiling import largest_piece, peak_bytes, pictures_at_once
from ..randar_core.models.tokenizer import Tokenizer
from .host_memory import load, split_to_fit
from .input_checks import extremes, in_unit_range
from .placed_tokenizer import PlacedTokenizer

PIXEL_BYTES = 16  # of a whole picture in float32, with the weights of its tiles
PICTURE_TOO_LARGE = "There is not enough memory for the tokenizer to take a picture of this size. {} needs less."
TILE_TOO_LARGE = "There is not enough memory for tiles of this size. Choose a smaller tile_size."
LARGEST_VALUE = 1e6  # of a latent. Codes lie near 1; the squares of much larger values overflow float32


class TokenizerVAE:
    """`encode`, `decode`, their tiled forms and the other members that nodes ask of a VAE, over a tokenizer."""

    size = None

    def __init__(self, tokenizer: Tokenizer):
        self.factor = self.downscale_ratio = self.upscale_ratio = tokenizer.factor
        self.latent_channels, self.output_channels = tokenizer.codebook_dim, 3
        self.vae_dtype = tokenizer.quantize.embedding.weight.dtype
        self.codebook = codebook_copy(tokenizer.quantize)
        self.code_colours: Tensor | None = None  # `[V, 3]`, see code_colours.py
        self.decode_seconds: float | None = None  # for each computed cell, as measured last
        for half in (tokenizer.encoder, tokenizer.decoder):  # each runs once a slice or tile of a long encode
            half.register_forward_pre_hook(interrupt)
        comfy.model_management.archive_model_dtypes(tokenizer)
        self.patcher = comfy.model_patcher.CoreModelPatcher(
            tokenizer,
            load_device=comfy.model_management.vae_device(),
            offload_device=comfy.model_management.vae_offload_device(),
        )

    @property
    def tokenizer(self) -> Tokenizer:
        return self.patcher.model

    @property
    def for_tasks(self) -> "PlacedTokenizer":
        """The tokenizer as the tasks of the core take it."""
        return PlacedTokenizer(self.tokenizer, self.device)

    @property
    def first_stage_model(self) -> Tokenizer:
        """ComfyUI's name for it."""
        return self.patcher.model

    @first_stage_model.setter
    def first_stage_model(self, tokenizer: Tokenizer) -> None:
        """ComfyUI sets it together with a cloned patcher, which has this network."""

    @property
    def device(self) -> torch.device:
        return self.patcher.load_device

    @device.setter
    def device(self, device: torch.device) -> None:
        """ComfyUI sets it together with a patcher of that device."""

    @property
    def output_device(self) -> torch.device:
        return comfy.model_management.intermediate_device()

    def encode(self, pixels: Tensor) -> Tensor:
        """pixels [B, H, W, C] in 0…1 -> codebook vectors [B, C, h, w]; sides are cropped to multiples of the factor."""
        return self.vectors(self.encode_ids(self.pixels_in(pixels)))

    def decode(self, samples: Tensor) -> Tensor:
        """codebook vectors [B, C, h, w] -> pixels [B, H, W, 3] in 0…1. Vectors between codes blend."""
        self.check(samples)
        return rearrange(self.decode_vectors(samples), "b c h w -> b h w c")

    def encode_tiled(self, pixels: Tensor, tile_x=512, tile_y=512, overlap=64, tile_t=None, overlap_t=None) -> Tensor:
        """As `encode`, tile by tile; tiles and overlap in pixels."""
        pixels = self.pixels_in(pixels)
        tile_y, tile_x = (max(1, tile // self.factor) for tile in (tile_y, tile_x))
        height, width = (
            min(tile * self.factor, side) for tile, side in zip((tile_y, tile_x), pixels.shape[2:], strict=True)
        )
        unquantised = self.in_tiles(
            lambda: comfy.utils.tiled_scale(
                pixels,
                lambda tile: self.tokenizer.encode_vectors(tile.to(self.device)).to(torch.float32),
                tile_x * self.factor,
                tile_y * self.factor,
                min(overlap // self.factor, tile_x // 2, tile_y // 2) * self.factor,
                upscale_amount=1 / self.factor,
                out_channels=self.latent_channels,
                output_device=torch.device("cpu"),
            ),
            # Without the search for the nearest codes, which the CPU does.
            self.bytes_of(self.tokenizer.encoded_channels, height, width, 1),
        )
        return self.vectors(self.codebook.nearest(unquantised))

    def decode_tiled(self, samples: Tensor, tile_x=32, tile_y=32, overlap=4, tile_t=None, overlap_t=None) -> Tensor:
        """As `decode`, tile by tile; tiles and overlap in cells."""
        self.check(samples)
        tile_y, tile_x = max(1, tile_y), max(1, tile_x)
        height, width = (
            min(tile, side) * self.factor for tile, side in zip((tile_y, tile_x), samples.shape[2:], strict=True)
        )
        decoded = self.in_tiles(
            lambda: comfy.utils.tiled_scale(
                samples,
                self.decode_on_device,
                tile_x,
                tile_y,
                min(overlap, tile_x // 2, tile_y // 2),
                upscale_amount=self.factor,
                out_channels=3,
                output_device=self.output_device,
            ),
            self.decode_bytes(height, width),
        )
        return rearrange(decoded, "b c h w -> b h w c")

    def encode_ids(self, pixels: Tensor) -> Tensor:
        """pixels [B, 3, H, W] in 0…1, sides multiples of the factor -> ids [B, h, w] on the device."""
        return self.in_batches(
            lambda chunk: self.tokenizer.encode(chunk.to(self.device)),
            pixels,
            pictures_at_once(*pixels.shape[2:], self.device),
            self.encode_bytes(*pixels.shape[2:]),
            PICTURE_TOO_LARGE.format("VAE Encode (Tiled)"),
        )

    def decode_ids(self, ids: Tensor) -> Tensor:
        """ids [B, h, w] -> pixels [B, 3, H, W] in 0…1."""
        return self.decode_vectors(self.codebook.vectors(ids.cpu()))

    def decode_vectors(self, vectors: Tensor) -> Tensor:
        """vectors [B, C, h, w] -> pixels [B, 3, H, W] in 0…1."""
        height, width = vectors.shape[2] * self.factor, vectors.shape[3] * self.factor
        return self.in_batches(
            self.decode_on_device,
            vectors,
            pictures_at_once(height, width, self.device),
            self.decode_bytes(height, width),
            PICTURE_TOO_LARGE.format("VAE Decode (Tiled)"),
        )

    def decode_on_device(self, vectors: Tensor, output_device: torch.device | None = None) -> Tensor:
        """As `decode_vectors`, in one piece, and with nothing loaded: the decoder is on its device."""
        began = time.perf_counter()
        pixels = self.tokenizer.decode_codes(vectors.to(self.device))
        pixels = pixels.to(torch.float32).clamp(0, 1).to(output_device or self.output_device)
        if pixels.device.type == "cpu":  # elsewhere the device may be at work still
            cells = len(vectors) * self.computed_cells(*vectors.shape[2:])
            self.decode_seconds = (time.perf_counter() - began) / cells
        return pixels

    def computed_cells(self, height: int, width: int) -> int:
        """Cells that the decoder computes for a picture of `height` × `width` cells."""
        margins = 2 * self.tokenizer.margin
        return (height + margins) * (width + margins)

    def vectors(self, ids: Tensor) -> Tensor:
        """ids [B, h, w] -> the samples of a LATENT, [B, C, h, w] float32."""
        return self.codebook.vectors(ids.cpu()).to(self.output_device)

    def ids(self, samples: Tensor) -> Tensor:
        """The samples of a LATENT -> ids [B, h, w] of the nearest codes, on the CPU."""
        self.check(samples)
        return self.codebook.nearest(samples.cpu())

    def in_tiles(self, run: Callable[[], Tensor], bytes_each: int) -> Tensor:
        """`run()`, which takes one tile of one picture at a time, each `bytes_each`."""
        load([self.patcher], bytes_each)
        return split_to_fit(lambda size: run(), 1, bytes_each, self.patcher, TILE_TOO_LARGE)

    def in_batches(self, run, batch: Tensor, at_once: int, bytes_each: int, too_large: str) -> Tensor:
        """`run` over a `batch` [B, C, h, w], `at_once` at a time or as many as fit, with the tokenizer loaded.

        Each takes `bytes_each`; `too_large` are the words of the MemoryError where one alone doesn't fit. Nothing is
        unloaded to make room for more than `at_once`.
        """
        at_once = min(len(batch), at_once)
        load([self.patcher], bytes_each * at_once)
        return split_to_fit(
            lambda size: torch.cat([run(chunk) for chunk in batch.split(size)]),
            at_once,
            bytes_each,
            self.patcher,
            too_large,
        )

    def encode_bytes(self, height: int, width: int, pictures: int = 1) -> int:
        """Bytes that encoding pictures of that many pixels takes, without the weights."""
        cells = min(pictures, pictures_at_once(height, width, self.device)) * height * width // self.factor**2
        network = self.bytes_of(self.tokenizer.encoded_channels, height, width, pictures)
        return max(network, self.codebook.nearest_bytes(cells) + PIXEL_BYTES * pictures * height * width)

    def decode_bytes(self, height: int, width: int, pictures: int = 1) -> int:
        """Bytes that decoding pictures of that many pixels takes, without the weights."""
        margins = 2 * self.tokenizer.margin * self.factor
        return self.bytes_of(self.tokenizer.decoded_channels, height, width, pictures, margins)

    def bytes_of(self, channels: int, height: int, width: int, pictures: int, margins: int = 0) -> int:
        """Bytes of pictures with `channels` at full size, and `margins` on both sides together.

        Many go in slices, a large one in tiles.
        """
        together = min(pictures, pictures_at_once(height + margins, width + margins, self.device))
        piece_height, piece_width = largest_piece(height, width, self.factor, self.tokenizer.whole_at_most)
        pixels = together * (piece_height + margins) * (piece_width + margins)
        return peak_bytes(channels, pixels, self.vae_dtype, self.device) + PIXEL_BYTES * pictures * height * width

    def pixels_in(self, image: Tensor) -> Tensor:
        """An IMAGE [B, H, W, C] as [B, 3, H, W], its middle cropped to multiples of the factor as the core does.

        Raises ValueError for a picture smaller than a token and for values that are not finite.
        """
        if image.ndim != 4:
            raise ValueError(f"The image has the shape {list(image.shape)}; expected [batch, height, width, channels].")
        image = in_unit_range(image, "image")
        height, width = ((side // self.factor) * self.factor for side in image.shape[1:3])
        if not height or not width:
            raise ValueError(
                f"The picture is {image.shape[2]}×{image.shape[1]} pixels (width×height); the tokenizer needs "
                f"{self.factor}×{self.factor} at least. Scale it up first."
            )
        top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
        image = image[:, top : top + height, left : left + width, : 3 if image.shape[3] >= 3 else 1]
        return rearrange(image.expand(-1, -1, -1, 3), "b h w c -> b c h w")

    def check(self, samples: Tensor) -> None:
        """Raises ValueError unless `samples` may be a latent of this tokenizer."""
        if samples.ndim != 4 or samples.shape[1] != self.latent_channels:
            raise ValueError(
                f"This latent has the shape {list(samples.shape)}; this VAE takes [batch, {self.latent_channels}, "
                "rows, columns]. It comes from another kind of model: connect the latent of a RandAR Sampler, or of "
                "VAE Encode with this VAE."
            )
        lowest, highest = extremes(samples, "latent")
        if max(-lowest, highest) > LARGEST_VALUE:
            raise ValueError(
                f"The latent has values from {lowest:g} to {highest:g}; those of this VAE lie near 1. Look for the "
                "node before this one that makes them."
            )

    def spacial_compression_encode(self) -> int:
        return self.factor

    def spacial_compression_decode(self) -> int:
        return self.factor

    def temporal_compression_decode(self) -> None:
        return None

    def throw_exception_if_invalid(self) -> None:
        """A tokenizer without weights is never made."""

    def is_dynamic(self) -> bool:
        return self.patcher.is_dynamic()

    def get_sd(self) -> dict[str, Tensor]:
        return self.tokenizer.state_dict()


def interrupt(*_) -> None:
    """A hook: end the run if the user asked for it."""
    comfy.model_management.throw_exception_if_processing_interrupted()


def codebook_copy(codebook: Codebook) -> Codebook:
    """The codebook on the CPU in float32: samplers and latents need it while the tokenizer isn't loaded."""
    copy = Codebook(codebook.size, codebook.dim, codebook.normalised, layers, device="meta", dtype=torch.float32)
    weight = codebook.embedding.weight.detach().to("cpu", torch.float32, copy=True)
    copy.load_state_dict({"embedding.weight": weight}, assign=True)
    return copy.requires_grad_(False)
