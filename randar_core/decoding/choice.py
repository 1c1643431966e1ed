"""From the logits of a call to its tokens: guidance, sampling and confidence in one, all of it on the device."""

from dataclasses import dataclass

from einops import rearrange
from torch import Tensor

from .guidance import Combination
from .sampling import Sampling, confidence, draw, probabilities


@dataclass(frozen=True)
class Choice:
    """How tokens are chosen. What differs from call to call is given to it, so that a captured call can hold it."""

    combination: Combination
    sampling: Sampling

    def __call__(self, logits: Tensor, weights: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Ids and their confidence, `[B, n]` each, of `logits` `[(rows B), n, V]`.

        `weights` `[terms, n]` are guidance's, `noise` `[B, n]` is uniform in [0, 1).
        """
        guided = self.combination(rearrange(logits, "(g b) n v -> g b n v", b=len(noise)), weights)
        ids = draw(probabilities(guided, self.sampling), noise)
        return ids, confidence(guided, ids)
