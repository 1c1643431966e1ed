"""What a tokenizer learns: to give its pixels back through a codebook whose codes are all in use."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..decoding.seeding import generator_for
from ..models.llamagen import LlamaGenTokenizer
from ..models.tokenizer import DISTANCES_AT_ONCE
from .samples import ExchangedSamples, PixelSamples


@dataclass(frozen=True)
class TokenizerRecipe:
    """`free_steps` without a codebook come first, so that it can start from vectors that mean something already.

    Every `revive_every` steps, codes that no vector chose meanwhile move onto vectors of the batch, until the share
    `settled` of the training is done.
    """

    commitment: float = 0.25
    edges: float = 1.0
    free_steps: int = 150
    revive_every: int = 50
    settled: float = 0.7


class TokenizerObjective(nn.Module):
    """Reconstruction and commitment (VQ-VAE, arXiv 1711.00937, equation 3), with codes and vectors at length one."""

    FIGURES = ("psnr", "codes", "usage", "perplexity")

    def __init__(self, model: LlamaGenTokenizer, recipe: TokenizerRecipe, steps: int, seed: int):
        super().__init__()
        self.model, self.recipe, self.steps, self.seed = model, recipe, steps, seed
        self.register_buffer("uses", torch.zeros(model.codebook_size))
        self.latest: Tensor | None = None

    def forward(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """batch: `pixels` [B, 3, H, W] in 0…1 -> the loss and figures for the log, scalars."""
        pixels = batch["pixels"]
        vectors = F.normalize(self.model.pre_quant(pixels).float(), dim=1)
        self.latest = rearrange(vectors.detach(), "b c h w -> (b h w) c")
        figures = {}
        if step < self.recipe.free_steps:
            quantised, code_loss = vectors, vectors.new_zeros(())
        else:
            ids = self.model.nearest(vectors)
            self.uses += _sum_over_processes(torch.bincount(ids.flatten(), minlength=self.model.codebook_size))
            codes = self.model.vectors(ids)
            code_loss = F.mse_loss(codes, vectors.detach()) + self.recipe.commitment * F.mse_loss(
                vectors, codes.detach()
            )
            # Straight through: the gradient of the codes is handed to the encoder.
            quantised = vectors + (codes - vectors).detach()
        decoded = self.model.decode_vectors(quantised).float()
        error = F.mse_loss(decoded, pixels)
        loss = reconstruction(decoded, pixels, self.recipe.edges) + code_loss
        # Every parameter takes part in every step, as DistributedDataParallel asks.
        loss = loss + 0.0 * self.model.quantize.embedding.weight.sum()
        figures |= {"psnr": -10 * error.detach().log10(), "codes": code_loss.detach()}
        return loss, figures

    @torch.no_grad()
    def after_step(self, step: int, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """Care for the codebook after training step `step`; figures for the log where there are new ones."""
        recipe, done = self.recipe, step + 1
        if done == recipe.free_steps:
            self.start_codebook(optimizer)
        elif done > recipe.free_steps and (done - recipe.free_steps) % recipe.revive_every == 0:
            uses = self.uses.clone()
            self.uses.zero_()
            dead = (uses == 0).nonzero().squeeze(1)
            if done < recipe.settled * self.steps:
                self.move(dead, self.candidates(len(dead), done), optimizer)
            share = uses / uses.sum()
            perplexity = torch.special.entr(share).sum().exp()
            return {"usage": 1 - len(dead) / len(uses), "perplexity": perplexity.item()}
        return {}

    def start_codebook(self, optimizer: torch.optim.Optimizer) -> None:
        """The codebook becomes the centres of the batch's vectors (spherical k-means, ten rounds)."""
        size = self.model.codebook_size
        vectors = _gather_over_processes(self.latest)
        centres = self.candidates(size, self.recipe.free_steps)
        for _ in range(10):
            nearest = (vectors @ centres.T).argmax(1)
            sums = torch.zeros_like(centres).index_add_(0, nearest, vectors)
            # A centre without vectors stays where it is.
            centres = torch.where(sums.norm(dim=1, keepdim=True) > 0, F.normalize(sums, dim=1), centres)
        if dist.is_initialized():
            dist.broadcast(centres, 0)  # sums on a graphics card may round differently in every process
        self.move(torch.arange(size, device=centres.device), centres, optimizer)

    def candidates(self, count: int, step: int) -> Tensor:
        """`count` vectors [count, C] of the latest batch, drawn from seed and step; the same in all processes."""
        vectors = _gather_over_processes(self.latest)
        chosen = torch.randint(len(vectors), (count,), generator=generator_for(self.seed, "codes", step))
        return vectors[chosen.to(vectors.device)]

    def move(self, codes: Tensor, vectors: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Put the rows `codes` [n] of the codebook at `vectors` [n, C]; the optimizer forgets what it knew of them."""
        weight = self.model.quantize.embedding.weight
        weight[codes] = vectors.to(weight.dtype)
        for moments in optimizer.state[weight].values():
            if moments.shape == weight.shape:
                moments[codes] = 0


@dataclass(frozen=True)
class PixelsRecipe:
    """What the half of a tokenizer that makes pixels learns by itself.

    `edges` is the weight of differences between neighbouring pixels, as in `TokenizerRecipe`. The outermost pixels,
    `PixelsObjective.BORDER` of them, weigh `border` times as much as others: a picture's edge is a small part of it,
    but shows as a line where the picture is continued. Of three pictures in four up to a share `exchanged` of the codes
    are exchanged for near ones, as a decoder draws them, so that it learns to trust what lies around (latent
    perturbation, arXiv 2503.08354).
    """

    edges: float = 1.0
    border: float = 4.0
    exchanged: float = 0.3


class PixelsObjective(nn.Module):
    """Reconstruction alone, by the half of a trained tokenizer that makes pixels.

    Encoder and codebook stay as they are. So a picture's ids don't change, and decoders that learnt them stay valid.
    The log's `psnr` is that of pictures with exchanged codes, lower than of pictures with their own.
    """

    FIGURES = ("psnr",)
    BORDER = 3  # pixels
    NEAREST = 32  # codes that may take the place of one
    UNCHANGED_EVERY = 4  # so often a picture keeps all its codes

    def __init__(self, model: LlamaGenTokenizer, recipe: PixelsRecipe):
        super().__init__()
        self.model, self.recipe = model, recipe
        for part in (model.encoder, model.quant_conv, model.quantize):
            part.requires_grad_(False)
        self.register_buffer("ranked", ranked_codes(model, self.NEAREST), persistent=False)

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
        loss = reconstruction(decoded, pixels, self.recipe.edges, weights)
        return loss, {"psnr": -10 * F.mse_loss(decoded.detach(), pixels).log10()}

    def after_step(self, step: int, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        return {}


@torch.no_grad()
def ranked_codes(model: LlamaGenTokenizer, nearest: int) -> Tensor:
    """By code, its own id and those of the `nearest` codes around it (of all, where there are fewer), `[V, 1 + n]`."""
    codes = model.quantize.rows(torch.arange(model.codebook_size, device=model.quantize.embedding.weight.device))
    ranked = []
    for ids in torch.arange(len(codes), device=codes.device).split(max(1, DISTANCES_AT_ONCE // len(codes))):
        distances = torch.cdist(codes[ids], codes).scatter_(1, ids[:, None], -1)  # also where two codes are the same
        ranked.append(distances.topk(min(1 + nearest, len(codes)), largest=False).indices)
    return torch.cat(ranked)


def border_weights(height: int, width: int, border: int, times: float) -> Tensor:
    """[H, W], one on average: the outermost `border` pixels weigh `times` as much as others."""
    weights = torch.full((height, width), float(times))
    weights[border : height - border, border : width - border] = 1
    return weights / weights.mean()


def reconstruction(decoded: Tensor, pixels: Tensor, edges: float, weights: Tensor | None = None) -> Tensor:
    """Absolute and squared error at four scales, and, `edges` times, of the differences of neighbouring pixels.

    `weights` [H, W] are those of the pixels at the finest scale, by default equal.
    """

    def mean(error: Tensor, weights: Tensor | None) -> Tensor:
        return error.mean() if weights is None else (error * weights).mean()

    difference = decoded - pixels
    down = across = None
    if weights is not None:  # a step between two pixels weighs as they do on average
        down, across = (weights[1:] + weights[:-1]) / 2, (weights[:, 1:] + weights[:, :-1]) / 2
    loss = edges * (mean(difference.diff(dim=2).abs(), down) + mean(difference.diff(dim=3).abs(), across))
    for scale in range(4):
        if scale:
            if min(difference.shape[2:]) < 2:
                break
            difference, weights = F.avg_pool2d(difference, 2), None
        loss = loss + mean(difference.abs(), weights) + 2 * mean(difference.square(), weights)
    return loss


def _sum_over_processes(values: Tensor) -> Tensor:
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


def _gather_over_processes(vectors: Tensor) -> Tensor:
    """[n, C] of every process, in the order of the ranks -> [ranks · n, C]."""
    if not dist.is_initialized():
        return vectors
    parts = [torch.empty_like(vectors) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, vectors.contiguous())
    return torch.cat(parts)
