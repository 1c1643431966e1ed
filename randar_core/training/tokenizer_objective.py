"""What a tokenizer learns: to reconstruct its pixels through a codebook whose codes are all in use."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..decoding.seeding import generator_for
from ..models.llamagen import LlamaGenTokenizer
from ..runtime.distributed import gather, sum_over_processes, take_from_rank_0
from .reconstruction import reconstruction_loss


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
            self.uses += sum_over_processes(torch.bincount(ids.flatten(), minlength=self.model.codebook_size))
            codes = self.model.vectors(ids)
            code_loss = F.mse_loss(codes, vectors.detach()) + self.recipe.commitment * F.mse_loss(
                vectors, codes.detach()
            )
            # Straight through: the gradient of the codes is handed to the encoder.
            quantised = vectors + (codes - vectors).detach()
        decoded = self.model.decode_vectors(quantised).float()
        error = F.mse_loss(decoded, pixels)
        loss = reconstruction_loss(decoded, pixels, self.recipe.edges) + code_loss
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
        vectors = gather(self.latest)
        centres = self.candidates(size, self.recipe.free_steps)
        for _ in range(10):
            nearest = (vectors @ centres.T).argmax(1)
            sums = torch.zeros_like(centres).index_add_(0, nearest, vectors)
            # A centre without vectors stays where it is.
            centres = torch.where(sums.norm(dim=1, keepdim=True) > 0, F.normalize(sums, dim=1), centres)
        centres = take_from_rank_0(centres)  # sums on a GPU may round differently in every process
        self.move(torch.arange(size, device=centres.device), centres, optimizer)

    def candidates(self, count: int, step: int) -> Tensor:
        """`count` vectors [count, C] of the latest batch, drawn from seed and step; the same in all processes."""
        vectors = gather(self.latest)
        chosen = torch.randint(len(vectors), (count,), generator=generator_for(self.seed, "codes", step))
        return vectors[chosen.to(vectors.device)]

    def move(self, codes: Tensor, vectors: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Set the rows `codes` [n] of the codebook to `vectors` [n, C] and clear the optimizer's moments of them."""
        weight = self.model.quantize.embedding.weight
        weight[codes] = vectors.to(weight.dtype)
        for moments in optimizer.state[weight].values():
            if moments.shape == weight.shape:
                moments[codes] = 0
