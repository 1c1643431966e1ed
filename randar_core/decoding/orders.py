"""Orders in which cells are drawn. An order is a function from a request to a permutation of all cells."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .halton import halton_order
from .proximity import proximity_order


@dataclass(frozen=True)
class OrderRequest:
    """What an order may depend on, for one picture of a batch."""

    height: int
    width: int
    known: Tensor  # [N] bool
    sizes: Sequence[int]  # tokens drawn by each call
    generator: torch.Generator


Order = Callable[[OrderRequest], Tensor]  # a permutation of the N cells, known ones anywhere


def random(request: OrderRequest) -> Tensor:
    """A permutation from the seed, the order RandAR was trained on."""
    return torch.randperm(request.height * request.width, generator=request.generator, dtype=torch.long, device="cpu")


def raster(request: OrderRequest) -> Tensor:
    """Row by row from the top left."""
    return torch.arange(request.height * request.width, device="cpu")


def raster_from_right(request: OrderRequest) -> Tensor:
    """Row by row from the top right."""
    return raster(request).view(request.height, request.width).flip(1).flatten()


def raster_from_below(request: OrderRequest) -> Tensor:
    """Row by row from the bottom left."""
    return raster(request).view(request.height, request.width).flip(0).flatten()


def raster_reversed(request: OrderRequest) -> Tensor:
    """Row by row from the bottom right."""
    return raster(request).flip(0)


def columns(request: OrderRequest) -> Tensor:
    """Column by column from the top left."""
    return raster(request).view(request.height, request.width).T.flatten()


def spiral_in(request: OrderRequest) -> Tensor:
    """Clockwise along the border from the top left, then ring by ring to the centre."""
    y, x = rows_and_columns(request)
    ring = torch.stack([y, x, request.height - 1 - y, request.width - 1 - x]).amin(0)
    down, right = request.height - 1 - 2 * ring, request.width - 1 - 2 * ring  # steps along the sides of the ring
    y, x = y - ring, x - ring
    up_left_side = 2 * right + 2 * down - y
    bottom_or_left = torch.where(y == down, 2 * right + down - x, up_left_side)
    along_ring = torch.where(y == 0, x, torch.where(x == right, right + y, bottom_or_left))
    return (ring * 2 * (request.height + request.width) + along_ring).argsort()


def spiral_out(request: OrderRequest) -> Tensor:
    """From the centre, ring by ring to the border."""
    return spiral_in(request).flip(0)


def hierarchical(request: OrderRequest) -> Tensor:
    """Coarse to fine: rows and columns divisible by a power of two, then by half of it, and so on; random within."""
    y, x = rows_and_columns(request)
    level, stride = torch.zeros_like(y), 2
    while 2 * stride <= max(request.height, request.width):
        level += (y % stride == 0) & (x % stride == 0)
        stride *= 2
    return highest_first(level, request)


def locality_aware(request: OrderRequest) -> Tensor:
    """Each call's cells near to what is known and far from one another, the idea of LPD (arXiv 2507.01957).

    A call of n tokens looks at the 3 n unknown cells that lie nearest to a known one and takes, one by one, the cell
    that is farthest from those it has taken; ties at random. Distances are Euclidean, in cells.
    """
    # NumPy: thousands of operations on a few numbers each, where a tensor costs several times as much.
    y, x = (axis.float().numpy() for axis in rows_and_columns(request))
    tie = torch.rand(len(y), generator=request.generator, dtype=torch.float32, device="cpu").numpy()
    drawn = request.known.cpu().numpy().copy()
    order = [drawn.nonzero()[0]]
    # Squared distance to what is drawn, at first larger than any on the grid.
    near = np.full_like(y, (request.height + request.width) ** 2)

    def bring_near(cells: np.ndarray) -> None:
        for start in range(0, len(cells), 256):
            chunk = cells[start : start + 256, None]
            np.minimum(near, ((y - y[chunk]) ** 2 + (x - x[chunk]) ** 2).min(0), out=near)

    bring_near(order[0])
    for size in request.sizes:
        left = (~drawn).nonzero()[0]
        distance = near[left] + tie[left]
        if 3 * size < len(left):
            nearest = distance.argpartition(3 * size)[: 3 * size]
            left, distance = left[nearest], distance[nearest]
        candidate_y, candidate_x, candidate_tie = y[left], x[left], tie[left]
        apart = np.full_like(candidate_y, np.inf)
        taken = [distance.argmin()]
        while len(taken) < size:
            gap = (candidate_y - candidate_y[taken[-1]]) ** 2 + (candidate_x - candidate_x[taken[-1]]) ** 2
            np.minimum(apart, gap, out=apart)
            taken.append((apart + candidate_tie).argmax())
        cells = left[taken]
        drawn[cells] = True
        bring_near(cells)
        order.append(cells)
    return torch.from_numpy(np.concatenate(order))


def halton(request: OrderRequest) -> Tensor:
    """The Halton sequence (arXiv 2503.17076), moved by the seed around the picture's edges."""
    cells = torch.from_numpy(halton_order(request.height, request.width))
    down, right = torch.rand(2, generator=request.generator, dtype=torch.float32, device="cpu").tolist()
    y = (cells // request.width + int(down * request.height)) % request.height
    x = (cells % request.width + int(right * request.width)) % request.width
    return y * request.width + x


@dataclass(frozen=True)
class Proximity:
    """LPD's order (arXiv 2507.01957): each call's cells near to what is drawn, and more than `repulsion` cells apart.

    As published: 2 for 16 × 16 cells (3 for the XXL release), 4 for 32 × 32. By default an eighth of the shorter side.
    """

    repulsion: int | None = None

    def __call__(self, request: OrderRequest) -> Tensor:
        height, width = request.height, request.width
        repulsion = min(height, width) // 8 if self.repulsion is None else self.repulsion
        shuffles = (random(request).numpy() for _ in request.sizes)
        known = request.known.view(height, width).cpu().numpy()
        order = torch.from_numpy(proximity_order(known, request.sizes, repulsion, shuffles))
        count = int(known.sum())  # of cells that are read in one go: at random, as in training
        shuffled = torch.randperm(count, generator=request.generator, dtype=torch.long, device="cpu")
        return torch.cat([order[:count][shuffled], order[count:]])


@dataclass(frozen=True)
class Painted:
    """The order that a painting asks for: where `priority` `[h, w]` is higher comes first, equals at random.

    The painting covers the picture; it is scaled to the grid by area. Where a task works in windows, each window sees
    its part. Raises ValueError for a painting of another shape or with values that aren't numbers.
    """

    priority: Tensor

    def __post_init__(self):
        if self.priority.ndim != 2 or not self.priority.numel():
            raise ValueError(
                f"A painted order needs one grey picture [height, width]; found the shape {list(self.priority.shape)}."
            )
        if not self.priority.isfinite().all():
            raise ValueError("The painted order holds values that aren't numbers (NaN or infinite).")

    def resized(self, height: int, width: int) -> Tensor:
        """`[height, width]`, by area."""
        return F.interpolate(self.priority[None, None].float().cpu(), (height, width), mode="area")[0, 0]

    def __call__(self, request: OrderRequest) -> Tensor:
        values = self.resized(request.height, request.width).flatten()
        # Averages of equal greys differ by rounding; they must stay equal.
        return highest_first((values * 4096).round(), request)


ORDERS: dict[str, Order] = {
    "random": random,
    "raster": raster,
    "raster from right": raster_from_right,
    "raster from below": raster_from_below,
    "raster reversed": raster_reversed,
    "columns": columns,
    "spiral out": spiral_out,
    "spiral in": spiral_in,
    "hierarchical": hierarchical,
    "locality-aware": locality_aware,
    "proximity": Proximity(),
    "halton": halton,
}


def order_named(name: str, repulsion: int | None = None) -> Order:
    """The order of a key of `ORDERS`, with the `repulsion` of `Proximity` (None: its own).

    Raises ValueError for an unknown name, and for a repulsion below 0 or of another order.
    """
    if name not in ORDERS:
        raise ValueError(f"There is no order '{name}'; choose one of {', '.join(ORDERS)}.")
    if repulsion is None:
        return ORDERS[name]
    if name != "proximity":
        raise ValueError(f"A repulsion belongs to the order 'proximity', not to '{name}'. Leave it out.")
    if repulsion < 0:
        raise ValueError(f"The repulsion is {repulsion} cells; it must be 0 or more.")
    return Proximity(repulsion)


def rows_and_columns(request: OrderRequest) -> tuple[Tensor, Tensor]:
    """Row and column of every cell, `[N]` each."""
    cells = raster(request)
    return cells // request.width, cells % request.width


def highest_first(values: Tensor, request: OrderRequest) -> Tensor:
    """The cells by falling `values` `[N]`, equals in random order."""
    shuffled = random(request)
    return shuffled[values[shuffled].argsort(descending=True, stable=True)]


def known_first(order: Tensor, known: Tensor) -> Tensor:
    """`order` `[B, N]` with the cells that are `known` `[B, N]` (bool, by cell) first, otherwise unchanged."""
    unknown_along = ~known.gather(1, order)
    return order.gather(1, unknown_along.to(torch.uint8).argsort(dim=1, stable=True))


def check_order(order: Tensor, batch: int, cells: int) -> Tensor:
    """`order` `[N]`, `[1, N]` or `[B, N]` as `[B, N]` long; ValueError where it isn't a permutation of the cells."""
    order = order.long()
    order = order.expand(batch, -1) if order.ndim == 1 or len(order) == 1 else order
    if order.shape != (batch, cells):
        raise ValueError(f"The order has the shape {list(order.shape)}; expected [{batch}, {cells}]: each cell once.")
    expected = torch.arange(cells, device=order.device).expand_as(order)
    for picture, same in enumerate((order.sort(1).values == expected).all(1).tolist()):
        if not same:
            raise ValueError(
                f"The order of picture {picture} is not a permutation of the {cells} cells: "
                "a cell is missing or comes twice."
            )
    return order
