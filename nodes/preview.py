"""Live previews: tokens as coloured cells, without the tokenizer's decoder."""

import math

import torch
from einops import rearrange, repeat
from PIL import Image
from torch import Tensor

from .vae import TokenizerVAE

CELL_PIXELS = 16  # largest side of a cell in a preview; ComfyUI scales the preview
UNDRAWN = 32  # grey level of cells that are not drawn yet
SAMPLED_CODES = 32  # codes that are decoded to fit the colours: at most the work of one picture


def cell_sheet(colours: Tensor, ids: Tensor, known: Tensor, size: int) -> Image.Image:
    """Tokens `[B, h, w]` as coloured cells, the pictures of a batch in a grid; cells that are not `known` are dark.

    A cell is as large as fits into `size` pixels a side. With cells of one fixed size a large canvas would take
    gigabytes.
    """
    cells = torch.where(known.unsqueeze(-1), colours[ids * known], UNDRAWN)
    columns = math.ceil(math.sqrt(len(cells)))
    cells = torch.cat([cells, torch.full_like(cells[:1], UNDRAWN).repeat(-len(cells) % columns, 1, 1, 1)])
    cells = rearrange(cells, "(r c) h w rgb -> (r h) (c w) rgb", c=columns).to(torch.uint8)
    image = Image.fromarray(cells.numpy())
    scale = min(CELL_PIXELS, max(1, size // max(image.size)))
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def code_colours(vae: TokenizerVAE) -> Tensor:
    """A colour for each code, `[V, 3]` float32 in 0…255 on the CPU.

    It is a linear map of the code's vector, fitted to small pictures of one code each. The first call fits it, the
    VAE keeps it.
    """
    if vae.code_colours is None:
        codes = vae.codebook.rows(torch.arange(vae.codebook.size, device="cpu"))
        generator = torch.Generator("cpu").manual_seed(0)
        sampled = torch.randperm(len(codes), generator=generator, device="cpu")[:SAMPLED_CODES]
        side = 1 if vae.first_stage_model.margin else 2  # either way a cell has neighbours of its own code
        colours = vae.decode_ids(repeat(sampled, "n -> n h w", h=side, w=side)).mean((2, 3)).cpu()
        mean_code, mean_colour = codes.mean(0), colours.mean(0)
        vectors = codes[sampled] - mean_code
        # Ridge regression: a code may have more channels than there are samples.
        damping = 0.05 * vectors.square().sum(0).mean() * torch.eye(codes.shape[1], dtype=codes.dtype, device="cpu")
        slope = torch.linalg.solve(vectors.T @ vectors + damping, vectors.T @ (colours - mean_colour))
        vae.code_colours = ((codes - mean_code) @ slope + mean_colour).clamp(0, 1) * 255
    return vae.code_colours
