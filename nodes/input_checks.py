"""Checks of what other nodes hand to ours, in words that name the input."""

import logging

import torch
from torch import Tensor


def extremes(values: Tensor, name: str) -> tuple[float, float]:
    """The smallest and the largest of `values`. Raises ValueError unless there are some and all are finite."""
    if not values.numel():
        raise ValueError(
            f"The {name} is empty: it has the shape {list(values.shape)}. Connect a batch of one picture or more."
        )
    if not values.is_floating_point():
        raise ValueError(f"The {name} has numbers of type {values.dtype}; expected floating-point numbers.")
    # Both are NaN where any value is, and one is infinite where any value is. This takes no copy.
    lowest, highest = (extreme.item() for extreme in torch.aminmax(values.detach()))
    if not abs(lowest) + abs(highest) < float("inf"):
        raise ValueError(
            f"The {name} has values that are not finite (NaN or infinity). Look for the node before this one that "
            "makes them: a division by zero or an overflow in 16 bits is the usual cause."
        )
    return lowest, highest


def in_unit_range(values: Tensor, name: str) -> Tensor:
    """`values` in float32, clamped to 0…1. Raises ValueError as `extremes` does."""
    lowest, highest = extremes(values, name)
    values = values.to(torch.float32)
    if lowest < 0 or highest > 1:
        logging.warning("RandAR: the %s has values from %g to %g. They are clamped to 0…1.", name, lowest, highest)
        values = values.clamp(0, 1)
    return values
