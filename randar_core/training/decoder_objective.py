"""What a tokenizer's decoder learns: better pixels of the same ids, with encoder and codebook as they are."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.codebook import DISTANCES_AT_ONCE
from ..models.tokenizer import Tokenizer
from .discriminator import PatchDiscriminator, adversarial_losses
from .fingerprint import DECODER_WEIGHTS
from .reconstruction import border_weights, reconstruction_loss
from .samples import ExchangedSamples, PixelSamples


@dataclass(frozen=True)
class DecoderRecipe:
    """What the decoder of a trained tokenizer learns.

    `edges` is the weight of differences between neighbouring pixels, as in `TokenizerRecipe`. The outermost pixels,
    `DecoderObjective.BORDER` of them, weigh `border` times as much as others: a picture's edge is a small part of it,
    but shows as a line where the picture is continued. Of three pictures in four up to a share `exchanged` of the codes
    are exchanged for near ones, as a transformer draws them, so that the decoder learns to trust the context (latent
    perturbation, arXiv 2503.08354). The loss of a discriminator weighs `adversarial` times as much as the error of the
    pixels, 0 for none: where codes don't say which of several edges it was, the error alone asks for their average.
    """

    edges: float = 1.0
    border: float = 4.0
    exchanged: float = 0.3
    adversarial: float = 0.0


class DecoderObjective(nn.Module):
    """Reconstruction by the decoder of a trained tokenizer, with a discriminator where the recipe asks for one.

    Encoder and codebook stay as they are. So a picture's ids don't change, and transformers that learnt them stay
    valid. The log's `psnr` is that of pictures with exchanged codes, lower than of pictures with their own.
    """

    BORDER = 3  # pixels
    NEAREST = 32  # codes that may replace one
    UNCHANGED_EVERY = 4  # every fourth picture keeps all its codes

    def __init__(self, model: Tokenizer, recipe: DecoderRecipe):
        super().__init__()
        self.model, self.recipe = model, recipe
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith(DECODER_WEIGHTS))
        self.register_buffer("ranked", ranked_codes(model, self.NEAREST), persistent=False)
        self.discriminator = PatchDiscriminator() if recipe.adversarial else None
        self.FIGURES = ("psnr", "discriminator", "accuracy") if recipe.adversarial else ("psnr",)

    def samples(self, samples: PixelSamples) -> ExchangedSamples:
        """The samples of a training, with the codes that are exchanged."""
        nearest = self.ranked.shape[1] - 1
        return ExchangedSamples(samples, self.model.factor, self.recipe.exchanged, nearest, self.UNCHANGED_EVERY)

    def forward(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """batch: `pixels` [B, 3, H, W] in 0…1, `ranks` [B, h, w] -> the loss and figures for the log, scalars."""
        pixels = batch["pixels"]
        with torch.no_grad():
            ids = self.ranked[self.model.encode(pixels), batch["ranks"]]
            codes = self.model.vectors(ids)
        decoded = self.model.decode_vectors(codes).float()
        weights = border_weights(*pixels.shape[2:], self.BORDER, self.recipe.border).to(pixels.device)
        loss = reconstruction_loss(decoded, pixels, self.recipe.edges, weights)
        figures = {"psnr": -10 * F.mse_loss(decoded.detach(), pixels).log10()}
        if self.discriminator is not None:
            decoders, hinge, accuracy = adversarial_losses(self.discriminator, decoded, pixels, loss)
            loss = loss + self.recipe.adversarial * decoders + hinge
            figures |= {"discriminator": hinge.detach(), "accuracy": accuracy}
        return loss, figures

    def after_step(self, step: int, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        return {}


@torch.no_grad()
def ranked_codes(model: Tokenizer, nearest: int) -> Tensor:
    """By code, its own id and those of the `nearest` codes around it (of all, where there are fewer), `[V, 1 + n]`."""
    codes = model.quantize.rows(torch.arange(model.codebook_size, device=model.quantize.embedding.weight.device))
    ranked = []
    for ids in torch.arange(len(codes), device=codes.device).split(max(1, DISTANCES_AT_ONCE // len(codes))):
        distances = torch.cdist(codes[ids], codes).scatter_(1, ids[:, None], -1)  # also where two codes are the same
        ranked.append(distances.topk(min(1 + nearest, len(codes)), largest=False).indices)
    return torch.cat(ranked)
