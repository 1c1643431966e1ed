"""The colours of codes, for previews that aren't decoded."""

import torch
from einops import repeat
from torch import Tensor

from .vae import TokenizerVAE

SAMPLED_CODES = 32  # codes that are decoded to fit the colours: at most the work of one picture


def code_colours(vae: TokenizerVAE) -> Tensor:
    """A colour for each code, `[V, 3]` float32 in 0…1 on the CPU.

    It is a linear map of the code's vector, fitted to small pictures of one code each. The first call fits it, the
    VAE keeps it, and the time that its decoder takes.
    """
    if vae.code_colours is None:
        cpu = torch.device("cpu")
        codes = vae.codebook.rows(torch.arange(vae.codebook.size, device=cpu))
        sampled = torch.randperm(len(codes), generator=torch.Generator(cpu).manual_seed(0), device=cpu)[:SAMPLED_CODES]
        side = 1 if vae.tokenizer.margin else 2  # either way a cell has neighbours of its own code
        first, second = repeat(sampled, "n -> n h w", h=side, w=side).chunk(2)
        decoded = [vae.decode_ids(first).to(cpu)]  # loads the decoder and warms up the device
        decoded.append(vae.decode_on_device(vae.codebook.vectors(second), cpu))  # this is the time that is kept
        colours = torch.cat(decoded).mean((2, 3))
        mean_code, mean_colour = codes.mean(0), colours.mean(0)
        vectors = codes[sampled] - mean_code
        # Ridge regression: a code may have more channels than there are samples.
        damping = 0.05 * vectors.square().sum(0).mean() * torch.eye(codes.shape[1], dtype=codes.dtype, device=cpu)
        slope = torch.linalg.solve(vectors.T @ vectors + damping, vectors.T @ (colours - mean_colour))
        vae.code_colours = ((codes - mean_code) @ slope + mean_colour).clamp(0, 1)
    return vae.code_colours
