"""The plan for a canvas: everything that is decided before the first call."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .canvas import Canvas
from .orders import Order, OrderRequest, check_order, known_first, random
from .schedule import call_sizes
from .seeding import draw_noise, stream


@dataclass(frozen=True)
class Plan:
    """`order` `[B, N]` (cell indices, known cells first), `noise` `[B, N]` by cell, `sizes` of the calls by image."""

    order: Tensor
    noise: Tensor
    sizes: tuple[tuple[int, ...], ...]


def make_plan(
    canvas: Canvas,
    steps: int,
    seed: int,
    order: Order | Tensor = random,
    pictures: Sequence[int] | None = None,
    parallel: bool = True,
    round: int = 0,
) -> Plan:
    """Plan the unknown cells of `canvas` in `steps` calls (for a whole canvas; a partly known one takes fewer).

    `order` is a function of `orders.py` or outright cell indices, `[N]` or `[B, N]`. `pictures` `[B]` are the indices
    from which, with `seed` and `round`, all randomness of a picture comes; by default its place in the batch.
    """
    pictures = range(canvas.batch) if pictures is None else pictures
    if len(pictures) != canvas.batch:
        raise ValueError(f"{len(pictures)} picture indices were given for a batch of {canvas.batch}.")
    known = canvas.known.flatten(1).cpu()
    counts = known.sum(1).tolist()
    sizes = {count: tuple(call_sizes(canvas.cells, steps, count, parallel)) for count in set(counts)}
    if callable(order):
        height, width = canvas.ids.shape[1:]
        order = torch.stack(
            [
                order(OrderRequest(height, width, known[b], sizes[counts[b]], stream(seed, "order", int(i), round)))
                for b, i in enumerate(pictures)
            ]
        )
    return Plan(
        order=known_first(check_order(order, canvas.batch, canvas.cells).cpu(), known),
        noise=draw_noise(seed, pictures, canvas.cells, round),
        sizes=tuple(sizes[count] for count in counts),
    )
