"""The plan for a canvas: everything that is decided before the first call."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .options import DecodingOptions
from .orders import ORDERS, Order, OrderRequest, check_order, known_first
from .schedule import call_sizes
from .seeding import draw_noise, generator_for


@dataclass(frozen=True)
class Plan:
    """`order` `[B, N]` (cell indices, known cells first), `noise` `[B, N]` by cell, call `sizes` of each picture.

    On the CPU.
    """

    order: Tensor
    noise: Tensor
    sizes: tuple[tuple[int, ...], ...]


def sizes_for(model, options: DecodingOptions, cells: int, known: int = 0) -> tuple[int, ...]:
    """Tokens of each call of `model` on a canvas of `cells` cells of which `known` are set."""
    schedule = options.schedule or model.traits.schedule
    return tuple(call_sizes(cells, options.steps, known, schedule, model.traits.parallel))


def make_plan(
    model,
    known: Tensor,
    options: DecodingOptions,
    seeds: Sequence[int] | None = None,
    orders: Sequence[Order | Tensor] | None = None,
    noise: Tensor | None = None,
    pass_index: int = 0,
) -> Plan:
    """Plan the unknown cells of canvases, `known` `[B, h, w]` bool, for a `model` of any family.

    options: steps, seed, order, schedule and batch index.
    seeds: one for each picture in place of the seed of the options, as windows have them.
    orders: one for each picture in place of the order of the options.
    noise: `[B, N]` by cell in place of that of the seeds.
    pass_index: which pass over the same pictures this is; each has random numbers of its own.
    """
    batch, height, width = known.shape
    cells, indices = height * width, options.indices(batch)
    known = known.flatten(1).cpu()
    counts = known.sum(1).tolist()
    sizes = {count: sizes_for(model, options, cells, count) for count in set(counts)}
    seeds = [options.seed] * batch if seeds is None else seeds
    if orders is None:
        order = ORDERS[model.traits.order] if options.order is None else options.order
        orders = [order] * batch if callable(order) else check_order(order, batch, cells)
    rows = [
        order(OrderRequest(height, width, known[b], sizes[counts[b]], generator_for(seeds[b], "order", i, pass_index)))
        if callable(order)
        else order
        for b, (i, order) in enumerate(zip(indices, orders, strict=True))
    ]
    order = torch.stack(rows) if rows else torch.empty(0, cells, dtype=torch.long, device="cpu")
    return Plan(
        order=known_first(check_order(order, batch, cells).cpu(), known),
        noise=draw_noise(seeds, indices, cells, pass_index) if noise is None else noise,
        sizes=tuple(sizes[count] for count in counts),
    )
