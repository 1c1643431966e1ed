"""From logits to ids: temperature, top-k, top-p, and sampling by inverse CDF from one uniform number a cell."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How a token is sampled. `top_k` 0 and `top_p` 1 switch those filters off. Raises ValueError out of range."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self):
        if not 0 < self.temperature < float("inf"):
            raise ValueError(
                f"The temperature is {self.temperature}; it must be above 0 (top-k 1 takes the likeliest)."
            )
        if self.top_k < 0:
            raise ValueError(f"top-k is {self.top_k}; it must be 0 (off) or more.")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top-p is {self.top_p}; it must be above 0 and at most 1 (off).")


def probabilities(logits: Tensor, sampling: Sampling) -> Tensor:
    """Probabilities `[..., V]` of `logits` `[..., V]`: divided by the temperature, then top-k, then top-p, softmax."""
    logits = logits / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        least = logits.topk(sampling.top_k).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if sampling.top_p < 1:
        ranked, index = logits.sort(descending=True)
        ranked_probabilities = ranked.softmax(-1)
        # The token that crosses top-p stays: what counts is the probability before it.
        beyond = ranked_probabilities.cumsum(-1) - ranked_probabilities >= sampling.top_p
        beyond[..., 0] = False
        logits = logits.masked_fill(torch.zeros_like(beyond).scatter(-1, index, beyond), -torch.inf)
    return logits.softmax(-1)


def sample(probabilities: Tensor, noise: Tensor) -> Tensor:
    """Ids `[...]` by inverse CDF: `probabilities` `[..., V]`, `noise` `[...]` uniform in [0, 1)."""
    # A scan of one long row is summed up in another order each time on NVIDIA GPUs: in float64 it doesn't show.
    cumulative = probabilities.cumsum(-1, dtype=torch.float64 if probabilities.is_cuda else None)
    total = cumulative[..., -1:]
    # Rounding must not reach the total itself, past the last token that has any probability.
    target = torch.minimum(noise.unsqueeze(-1) * total, torch.nextafter(total, torch.zeros_like(total)))
    # NaN lies beyond the last token; as an index it would end a CUDA process before `decode` can say what is wrong.
    return torch.searchsorted(cumulative, target, right=True).squeeze(-1).clamp(max=probabilities.shape[-1] - 1)


def confidence_of(logits: Tensor, ids: Tensor) -> Tensor:
    """The probability of `ids` `[...]` under `logits` `[..., V]`, at temperature 1."""
    return (logits.gather(-1, ids.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(-1)).exp()
