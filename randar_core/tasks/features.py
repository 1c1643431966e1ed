"""Two-sided features: a causal model reads a picture twice, so that every token has seen all others (RandAR paper).

The paper shows that a model of random orders can encode with context from all sides although its attention is causal.
Its code was never released.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..decoding.conditions import PromptBatch, row_embeddings
from ..decoding.seeding import generator_for

# The share of the layers below which features are read by default: the best one to match parts with the built-in model.
# See the section on features in benchmarks/results/quality.md.
DEPTH = 0.45


@torch.no_grad()
def features(
    model,
    ids: Tensor,
    layer: int | None = None,
    orders: int = 1,
    prompts: Tensor | PromptBatch | None = None,
    passes: int = 2,
    seed: int = 0,
) -> Tensor:
    """Features `[B, g, g, D]` in float32 of pictures of `ids` `[B, g, g]`.

    model: a transformer of a family with `hidden_states`.
    layer: counted from 1; None: `default_layer`.
    orders: random orders that are averaged.
    prompts: class ids `[B]` or `PromptBatch` (of one condition each); None: the null condition.
    passes: 2: the tokens are read along an order and then along its reverse, and the features are those of the second
        reading, which has seen every token. 1: those of the first, for comparison.
    seed: of the orders.

    The sequence is that of decoding, twice as long: `[cls, p₁, x₁, …, p_N, x_N, p′₁, x′₁, …]`. Raises ValueError for
    another grid than the model's, for ids that it doesn't have, and as `hidden_states` does.
    """
    batch, (height, width), grid = len(ids), ids.shape[1:], model.config.grid
    if (height, width) != (grid, grid):
        raise ValueError(
            f"The picture has {width}×{height} cells (width×height); this model reads {grid}×{grid}. "
            "Scale or crop the picture to the model's size."
        )
    if ids.numel() and not (0 <= int(ids.min()) and int(ids.max()) < model.config.codebook_size):
        raise ValueError(f"The token ids must lie in 0…{model.config.codebook_size - 1}.")
    if orders < 1:
        raise ValueError(f"{orders} orders were asked for; at least 1 is needed.")
    if passes not in (1, 2):
        raise ValueError(f"{passes} passes were asked for; a picture is read once or twice.")
    layer = default_layer(model) if layer is None else layer
    condition = row_embeddings(model, conditions_of(prompts, batch), ids.device)
    total = None
    for index in range(orders):
        generator = generator_for(seed, "features", index)
        order = torch.randperm(grid**2, generator=generator, dtype=torch.long, device="cpu").to(ids.device)
        along = torch.cat([order, order.flip(0)]) if passes == 2 else order
        tokens = ids.flatten(1)[:, along]
        states = model.hidden_states(condition, tokens, along.expand(batch, -1), layer)[:, -(grid**2) :]
        by_cell = torch.empty_like(states, dtype=torch.float32)
        by_cell[:, along[-(grid**2) :]] = states.to(torch.float32)
        total = by_cell if total is None else total + by_cell
    return rearrange(total / orders, "b (h w) d -> b h w d", h=grid)


def conditions_of(prompts: Tensor | PromptBatch | None, batch: int) -> list:
    """The condition of each of `batch` pictures, None for the null condition. ValueError for regions."""
    if prompts is None:
        return [None] * batch
    items = PromptBatch.of(prompts).repeated(batch).items
    if any(len(item.conditions) > 1 or item.masks[0] is not None for item in items):
        raise ValueError("Features are read under one class for each picture, not under regions.")
    return [item.conditions[0] for item in items]


def default_layer(model) -> int:
    """The layer that features are read from by default; 1 where the family has none, which refuses to read it."""
    return max(1, round(DEPTH * model.feature_layers))


@torch.no_grad()
def feature_map(features: Tensor) -> Tensor:
    """The three main components of `features` `[B, h, w, D]`, of all pictures jointly, as colours `[B, 3, h, w]`.

    Objects and parts that are alike have the same colour, in all pictures of the batch.
    """
    flat = rearrange(features.to(device="cpu", dtype=torch.float32), "b h w d -> (b h w) d")
    centred = flat - flat.mean(0)
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    directions = F.pad(directions[:3], (0, 0, 0, max(0, 3 - len(directions))))
    # The sign of a direction is arbitrary: its largest number is made positive, so that colours don't flip.
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    directions = directions * torch.where(largest < 0, -1.0, 1.0)
    components = centred @ directions.T
    # The outermost hundredth of the values would leave little contrast to all others.
    low, high = components.quantile(0.01, dim=0), components.quantile(0.99, dim=0)
    colours = ((components - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
    return rearrange(colours, "(b h w) c -> b c h w", h=features.shape[1], w=features.shape[2]).to(features.device)


@dataclass(frozen=True)
class Match:
    """`similarity` `[h, w]` in −1…1: of each cell to the most alike marked cell; `mask` `[h, w]` bool.

    The mask has the cells whose most alike cell of the whole other picture is a marked one.
    """

    similarity: Tensor
    mask: Tensor


@torch.no_grad()
def match(source: Tensor, marked: Tensor, target: Tensor) -> Match:
    """The cells of one picture that correspond to `marked` cells of another, by the cosine of their features.

    source: features `[h, w, D]` of the picture with the marked cells.
    marked: `[h, w]` bool.
    target: features `[h, w, D]` of the picture to search.

    Features are centred on the mean of both pictures first. Raises ValueError where nothing is marked.
    """
    if not marked.any():
        raise ValueError("Nothing is marked in the first picture. Mark the part to find in its mask.")
    centre = torch.cat([source.flatten(0, 1), target.flatten(0, 1)]).mean(0)
    source, found = (F.normalize(each.flatten(0, 1) - centre, dim=-1) for each in (source, target))
    cosine = found @ source.T
    inside = marked.flatten().to(cosine.device)
    similarity = cosine.masked_fill(~inside, -torch.inf).amax(1)
    mask = inside[cosine.argmax(1)]
    return Match(similarity.view(target.shape[:2]), mask.view(target.shape[:2]))
