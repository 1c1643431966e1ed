"""The Halton sequence on a grid (arXiv 2503.17076): its first cells, however many, lie evenly over the picture."""

from functools import lru_cache

import numpy as np


@lru_cache
def halton_order(height: int, width: int) -> np.ndarray:
    """The cells in the order in which the two-dimensional Halton sequence of bases 2 and 3 first meets them.

    The first 2ᵃ 3ᵇ points have one in each box of height 2⁻ᵃ and width 3⁻ᵇ. With boxes of at most half a cell's sides,
    every cell holds one of them.
    """
    rows, columns = 1, 1
    while rows < 2 * height:
        rows *= 2
    while columns < 2 * width:
        columns *= 3
    index = np.arange(rows * columns)
    cells = scaled_radical_inverse(index, 2, height) * width + scaled_radical_inverse(index, 3, width)
    first_points = np.unique(cells, return_index=True)[1]
    return cells[np.sort(first_points)]


def scaled_radical_inverse(index: np.ndarray, base: int, length: int) -> np.ndarray:
    """The digits of `index` in `base` behind the point in reverse, times `length`, rounded down."""
    numerator, denominator = np.zeros_like(index), 1
    while index[-1]:
        index, digit = np.divmod(index, base)
        numerator, denominator = numerator * base + digit, denominator * base
    return numerator * length // denominator
