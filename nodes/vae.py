"""The tokenizer with the face of ComfyUI's VAE, so that the core's own nodes encode and decode with it.

A LATENT holds the codebook vectors of the tokens, `[B, C, h, w]` in float32; the ids come back from them exactly.
"""

import comfy.model_management
import comfy.model_patcher
import comfy.utils
import torch
from einops import rearrange
from torch import Tensor

from ..randar_core.models.tokenizer import (
    DECODE_BYTES,
    ENCODE_BYTES,
    Codebook,
    Tokenizer,
    in_tiles_if_large,
    pictures_at_once,
)
from .memory import split_to_fit

PIXEL_BYTES = 72  # six float32 copies of a whole picture, as outpainting has at its end


class TokenizerVAE:
    """`encode`, `decode`, their tiled forms and what else nodes ask of a VAE, over a tokenizer."""

    size = None

    def __init__(self, tokenizer: Tokenizer):
        self.factor = self.downscale_ratio = self.upscale_ratio = tokenizer.factor
        self.latent_channels, self.output_channels = tokenizer.codebook_dim, 3
        self.vae_dtype = tokenizer.quantize.embedding.weight.dtype
        self.codebook = codebook_copy(tokenizer.quantize)
        self.colours: Tensor | None = None  # what previews paint a code with, `[V, 3]`; set by the first one
        comfy.model_management.archive_model_dtypes(tokenizer)
        self.patcher = comfy.model_patcher.CoreModelPatcher(
            tokenizer,
            load_device=comfy.model_management.vae_device(),
            offload_device=comfy.model_management.vae_offload_device(),
        )

    @property
    def first_stage_model(self) -> Tokenizer:
        return self.patcher.model

    @first_stage_model.setter
    def first_stage_model(self, tokenizer: Tokenizer) -> None:
        """The core sets it along with a cloned patcher, whose network it is."""

    @property
    def device(self) -> torch.device:
        return self.patcher.load_device

    @device.setter
    def device(self, device: torch.device) -> None:
        """The core sets it along with a patcher of that device."""

    @property
    def output_device(self) -> torch.device:
        return comfy.model_management.intermediate_device()

    def encode(self, pixels: Tensor) -> Tensor:
        """pixels [B, H, W, C] in 0…1 -> codebook vectors [B, C, h, w]; sides are cropped to multiples of the factor."""
        ids = self.encode_to_ids(self.pixels_in(pixels))
        return self.vectors(ids)

    def decode(self, samples: Tensor) -> Tensor:
        """codebook vectors [B, C, h, w] -> pixels [B, H, W, 3] in 0…1. Vectors between codes blend."""
        self.check(samples)
        decoded = self.decoded(samples)
        return rearrange(decoded, "b c h w -> b h w c")

    def encode_tiled(self, pixels: Tensor, tile_x=512, tile_y=512, overlap=64, tile_t=None, overlap_t=None) -> Tensor:
        """As `encode`, tile by tile; tiles and overlap in pixels."""
        pixels = self.pixels_in(pixels)
        self.load(self.encode_bytes(tile_x, tile_y))
        tile_x, tile_y = max(1, tile_x // self.factor), max(1, tile_y // self.factor)
        unquantised = comfy.utils.tiled_scale(
            pixels,
            self.pre_quant_on_device,
            tile_x * self.factor,
            tile_y * self.factor,
            min(overlap // self.factor, tile_x // 2, tile_y // 2) * self.factor,
            upscale_amount=1 / self.factor,
            out_channels=self.latent_channels,
            output_device=torch.device("cpu"),
        )
        return self.vectors(self.codebook.nearest(unquantised))

    def decode_tiled(self, samples: Tensor, tile_x=32, tile_y=32, overlap=4, tile_t=None, overlap_t=None) -> Tensor:
        """As `decode`, tile by tile; tiles and overlap in cells."""
        self.check(samples)
        self.load(self.decode_bytes(tile_x * self.factor, tile_y * self.factor))
        tile_x, tile_y = max(1, tile_x), max(1, tile_y)
        decoded = comfy.utils.tiled_scale(
            samples,
            self.decode_on_device,
            tile_x,
            tile_y,
            min(overlap, tile_x // 2, tile_y // 2),
            upscale_amount=self.factor,
            out_channels=3,
            output_device=self.output_device,
        )
        return rearrange(decoded, "b c h w -> b h w c")

    def encode_to_ids(self, pixels: Tensor) -> Tensor:
        """pixels [B, 3, H, W] in 0…1, sides multiples of the factor -> ids [B, h, w] on the CPU."""
        sides = pixels.shape[2], pixels.shape[3]
        each = self.encode_bytes(*sides)
        vectors = self.in_batches(self.pre_quant_on_device, pixels, sides, each, "VAE Encode (Tiled)")
        return self.codebook.nearest(vectors.cpu())

    def decode_ids(self, ids: Tensor) -> Tensor:
        """ids [B, h, w] -> pixels [B, 3, H, W] in 0…1."""
        return self.decoded(self.codebook.vectors(ids.cpu()))

    def decoded(self, vectors: Tensor) -> Tensor:
        """vectors [B, C, h, w] -> pixels [B, 3, H, W] in 0…1."""
        sides = self.sides(vectors)
        return self.in_batches(self.decode_on_device, vectors, sides, self.decode_bytes(*sides), "VAE Decode (Tiled)")

    def vectors(self, ids: Tensor) -> Tensor:
        """ids [B, h, w] -> what a LATENT holds, [B, C, h, w] float32."""
        return self.codebook.vectors(ids.cpu()).to(self.output_device)

    def ids(self, samples: Tensor) -> Tensor:
        """What a LATENT holds -> ids [B, h, w] on the CPU, of the nearest codes."""
        self.check(samples)
        return self.codebook.nearest(samples.cpu())

    def pre_quant_on_device(self, pixels: Tensor) -> Tensor:
        def run(some: Tensor) -> Tensor:
            return self.first_stage_model.pre_quant(some.to(self.device, self.vae_dtype)).float()

        return in_tiles_if_large(run, pixels, self.factor, 1, self.first_stage_model.whole_at_most)

    def decode_on_device(self, vectors: Tensor) -> Tensor:
        def run(some: Tensor) -> Tensor:
            pixels = self.first_stage_model.decode_vectors(some.to(self.device, self.vae_dtype))
            return pixels.float().clamp(0, 1).to(self.output_device)

        return in_tiles_if_large(run, vectors, 1, self.factor, self.first_stage_model.whole_at_most)

    def in_batches(self, run, pieces: Tensor, sides: tuple[int, int], each: int, tiled: str) -> Tensor:
        """`run` over `pieces` [B, C, h, w] of pictures of `sides` pixels, as many at once as is quick and finds room.

        Each takes so many bytes.
        """
        # As many as are quickest together: nothing is unloaded for the room that more of them would take.
        at_once = min(len(pieces), pictures_at_once(*sides, self.device))
        self.load(each * at_once)
        return split_to_fit(
            lambda size: torch.cat([run(piece) for piece in pieces.split(size)]),
            at_once,
            each,
            self.patcher,
            f"There is not enough memory to take a picture of this size through the tokenizer. {tiled} needs less.",
        )

    def sides(self, vectors: Tensor) -> tuple[int, int]:
        """Height and width in pixels of what vectors [B, C, h, w] decode to."""
        return vectors.shape[2] * self.factor, vectors.shape[3] * self.factor

    def encode_bytes(self, height: int, width: int) -> int:
        """What a picture of that many pixels takes on its way to vectors, the weights aside."""
        return self.bytes_of(ENCODE_BYTES * self.first_stage_model.config.channels, height, width)

    def decode_bytes(self, height: int, width: int) -> int:
        """What a picture of that many pixels takes on its way from vectors, the weights aside."""
        more = 2 * self.first_stage_model.margin * self.factor
        return self.bytes_of(DECODE_BYTES * self.first_stage_model.decoded_channels, height + more, width + more)

    def bytes_of(self, a_pixel: float, height: int, width: int) -> int:
        """`a_pixel` bytes for every byte of the dtype and pixel; a large picture goes in tiles."""
        at_once = min(height * width, self.first_stage_model.whole_at_most)
        return int(a_pixel * at_once * self.vae_dtype.itemsize) + PIXEL_BYTES * height * width

    def load(self, memory_required: int) -> None:
        comfy.model_management.load_models_gpu([self.patcher], memory_required=memory_required, force_full_load=True)

    def pixels_in(self, pixels: Tensor) -> Tensor:
        """An IMAGE [B, H, W, C] as [B, 3, H, W], its middle cropped to multiples of the factor as the core does."""
        height, width = ((side // self.factor) * self.factor for side in pixels.shape[1:3])
        if not height or not width:
            raise ValueError(
                f"The picture is {pixels.shape[2]}×{pixels.shape[1]} pixels (width×height); the tokenizer needs "
                f"{self.factor}×{self.factor} at least. Scale it up first."
            )
        top, left = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
        pixels = pixels[:, top : top + height, left : left + width, :3]
        return rearrange(pixels.expand(-1, -1, -1, 3), "b h w c -> b c h w")

    def check(self, samples: Tensor) -> None:
        if samples.ndim != 4 or samples.shape[1] != self.latent_channels:
            raise ValueError(
                f"This latent has the shape {list(samples.shape)}; this VAE takes [batch, {self.latent_channels}, "
                "rows, columns]. It comes from another kind of model: connect the latent of a RandAR Sampler, or of "
                "VAE Encode with this VAE."
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
        return self.first_stage_model.state_dict()


def codebook_copy(codebook: Codebook) -> Codebook:
    """The codebook on the CPU in float32, where samplers and latents need it while the tokenizer is not loaded."""
    copy = Codebook(codebook.size, codebook.dim, codebook.normalised, torch.nn, device="meta")
    weight = codebook.embedding.weight.detach().to("cpu", torch.float32, copy=True)
    copy.load_state_dict({"embedding.weight": weight}, assign=True)
    return copy.requires_grad_(False)
