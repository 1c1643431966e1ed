"""The codebook of an image tokenizer: vectors of ids, and the nearest code of a vector."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

# The largest table of distances held at once: 2^25 float32 are 128 MiB.
DISTANCES_AT_ONCE = 2**25
# How many of the codes that a rounded matmul finds nearest are compared exactly; enough for TF32's rounding.
SHORT_LIST = 4


class Codebook(nn.Module):
    """`size` vectors of `dim` channels; `normalised` compares and returns them at length one."""

    def __init__(self, size: int, dim: int, normalised: bool, operations, **factory):
        super().__init__()
        self.size, self.dim, self.normalised = size, dim, normalised
        self.embedding = operations.Embedding(size, dim, **factory)

    def rows(self, ids: Tensor) -> Tensor:
        """ids [...] -> float32 vectors [..., C]."""
        rows = self.embedding(ids).float()
        return F.normalize(rows, dim=-1) if self.normalised else rows

    def vectors(self, ids: Tensor) -> Tensor:
        """ids [B, h, w] -> float32 vectors [B, C, h, w]. Raises ValueError for ids that the codebook does not have."""
        if ids.ndim != 3:
            raise ValueError(f"Token ids have shape {list(ids.shape)}; expected [batch, rows, columns].")
        if ids.numel() and (ids.min() < 0 or ids.max() >= self.size):
            raise ValueError(
                f"Token ids run from {ids.min().item()} to {ids.max().item()}, but this tokenizer's codebook has "
                f"the ids 0 to {self.size - 1}. The tokens probably come from a model with another tokenizer."
            )
        return rearrange(self.rows(ids), "b h w c -> b c h w")

    @torch.no_grad()
    def nearest(self, vectors: Tensor) -> Tensor:
        """vectors [B, C, h, w] -> ids [B, h, w] of the nearest codes by Euclidean distance, in float32.

        Of two to four equally near codes it is the one with the lowest id.
        """
        self.check(vectors)
        with torch.autocast(vectors.device.type, enabled=False):  # otherwise a training would compare in 16 bits
            codes = self.rows(torch.arange(self.size, device=vectors.device))
            points = rearrange(vectors.float(), "b c h w -> (b h w) c")
            points = F.normalize(points, dim=-1) if self.normalised else points
            ids = [nearest_codes(chunk, codes) for chunk in points.split(max(1, DISTANCES_AT_ONCE // self.size))]
        return rearrange(torch.cat(ids), "(b h w) -> b h w", h=vectors.shape[2], w=vectors.shape[3])

    def nearest_bytes(self, cells: int) -> int:
        """Bytes that `nearest` holds at once for so many `cells`: distances, short lists of codes, and the vectors."""
        at_once = min(cells, max(1, DISTANCES_AT_ONCE // self.size))
        return 4 * (at_once * (self.size + 2 * SHORT_LIST * self.dim) + 2 * cells * self.dim)

    def check(self, vectors: Tensor) -> None:
        """Raises ValueError unless the vectors are [B, C, h, w] with this codebook's C."""
        if vectors.ndim != 4 or vectors.shape[1] != self.dim:
            raise ValueError(
                f"Codebook vectors have shape {list(vectors.shape)}; this tokenizer expects "
                f"[batch, {self.dim}, rows, columns]."
            )


def nearest_codes(points: Tensor, codes: Tensor) -> Tensor:
    """points [P, C], codes [V, C], float32 -> ids [P].

    The matmul finds a short list, exact distances decide: a code's own vector gives its id back even where another
    code is nearer than the rounding of the matmul.
    """
    scores = torch.addmm(codes.square().sum(-1), points, codes.T, alpha=-2)
    few = scores.topk(min(SHORT_LIST, len(codes)), largest=False).indices.sort().values
    best = (points[:, None] - codes[few]).square().sum(-1).argmin(-1, keepdim=True)
    return few.gather(1, best).squeeze(1)
