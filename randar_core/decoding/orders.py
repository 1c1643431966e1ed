"""Orders in which cells are drawn. An order is a function from a request to a permutation of all cells."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class OrderRequest:
    """What an order may depend on, for one picture of a batch."""

    height: int
    width: int
    known: Tensor  # [N] bool
    sizes: Sequence[int]  # tokens drawn by each call
    generator: torch.Generator


Order = Callable[[OrderRequest], Tensor]  # a permutation of the N cells; where the known ones stand doesn't matter


def random(request: OrderRequest) -> Tensor:
    """A permutation from the seed, the order RandAR was trained on."""
    return torch.randperm(request.height * request.width, generator=request.generator)


def raster(request: OrderRequest) -> Tensor:
    """Row by row from the top left."""
    return torch.arange(request.height * request.width)


ORDERS: dict[str, Order] = {"random": random, "raster": raster}


def known_first(order: Tensor, known: Tensor) -> Tensor:
    """`order` `[B, N]` with the cells that are `known` `[B, N]` (bool, by cell) moved to the front, else unchanged."""
    unknown_along = ~known.gather(1, order)
    return order.gather(1, unknown_along.to(torch.uint8).argsort(dim=1, stable=True))


def check_order(order: Tensor, batch: int, cells: int) -> Tensor:
    """`order` `[N]` or `[B, N]` as `[B, N]` long; ValueError where it is no permutation of the cells."""
    order = torch.as_tensor(order).long()
    order = order.expand(batch, -1) if order.ndim == 1 else order
    if order.shape != (batch, cells):
        raise ValueError(f"The order has the shape {list(order.shape)}; expected [{batch}, {cells}]: each cell once.")
    expected = torch.arange(cells, device=order.device).expand_as(order)
    for picture, same in enumerate((order.sort(1).values == expected).all(1).tolist()):
        if not same:
            raise ValueError(
                f"The order of picture {picture} is no permutation of the {cells} cells: "
                "some cell is missing or comes twice."
            )
    return order
