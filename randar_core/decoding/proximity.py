"""The order of LPD: groups of cells that lie near to what is drawn and apart from one another (arXiv 2507.01957).

Near, because a cell next to drawn ones depends on them most; apart, because the cells of one group are drawn without
knowing each other's tokens (section 3.2).
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

PROXIMITY = np.array([[sides + corners / 2**0.5 for corners in range(5)] for sides in range(5)])
LEVELS = np.unique(PROXIMITY, return_inverse=True)[1].reshape(PROXIMITY.shape)
"""`[5, 5]`: the rank of a cell's proximity, the sum of 1 / distance over its drawn neighbours at sides and corners."""
NEAR = LEVELS[PROXIMITY >= 1].min()  # one drawn side or two corners


def proximity_order(
    known: np.ndarray, sizes: Sequence[int], repulsion: int, random_numbers: Iterable[np.ndarray]
) -> np.ndarray:
    """A permutation of the cells of a grid in groups of `sizes`, the cells `known` `[h, w]` (bool) first.

    A group takes the cells of the highest proximity, of at least one side, that have no cell of the group within
    `repulsion` (Chebyshev distance). Where these are too few it takes the cells that lie farthest from the group.

    `random_numbers` are `[1 + h w]` in [0, 1) for each group. By the first a group begins where no cell is near; by the
    others, lowest first, cells of equal proximity are sorted.
    """
    height, width = known.shape
    drawn = np.zeros((height + 2, width + 2), dtype=np.int8)  # with a rim: each cell has eight neighbours
    drawn[1:-1, 1:-1] = known
    order = [known.ravel().nonzero()[0]]
    for size, numbers in zip(sizes, random_numbers, strict=True):
        open_cells = (drawn[1:-1, 1:-1] == 0).ravel().nonzero()[0]
        level = levels(drawn).ravel()[open_cells]
        open_cells = open_cells[(numbers[1:][open_cells] - level).argsort()]
        near = np.count_nonzero(level >= NEAR)
        taken, refused = apart(open_cells[:near].tolist(), size, repulsion, height, width)
        if len(taken) < size:
            pool = np.concatenate([open_cells[near:], np.array(refused, dtype=open_cells.dtype)])
            taken += farthest(taken, pool, size - len(taken), height, width, numbers[0])
        order.append(np.array(taken))
        drawn[1 + order[-1] // width, 1 + order[-1] % width] = 1
    return np.concatenate(order)


def levels(drawn: np.ndarray) -> np.ndarray:
    """The level of proximity of every cell `[h, w]`, where `drawn` `[h + 2, w + 2]` (0 or 1) has a rim of one cell."""
    left_and_right = drawn[:, :-2] + drawn[:, 2:]
    sides = left_and_right[1:-1] + drawn[:-2, 1:-1] + drawn[2:, 1:-1]
    return LEVELS[sides, left_and_right[:-2] + left_and_right[2:]]


def apart(
    candidates: Sequence[int], count: int, repulsion: int, height: int, width: int
) -> tuple[list[int], list[int]]:
    """Of the `candidates` in turn: up to `count` that have none of these within `repulsion`; and the refused."""
    # Slices of bytes, with a rim as wide as the repulsion: NumPy costs several times as much on so few numbers.
    span, stride = 2 * repulsion + 1, width + 2 * repulsion
    covered, ones = bytearray((height + 2 * repulsion) * stride), b"\1" * span
    centre = repulsion * (stride + 1)
    taken: list[int] = []
    refused: list[int] = []
    for cell in candidates:
        corner = cell // width * stride + cell % width  # of the square around the cell
        if covered[corner + centre]:
            refused.append(cell)
            continue
        taken.append(cell)
        if len(taken) == count:
            break
        for start in range(corner, corner + span * stride, stride):
            covered[start : start + span] = ones
    return taken, refused


def farthest(taken: Sequence[int], pool: np.ndarray, count: int, height: int, width: int, first: float) -> list[int]:
    """`count` cells of `pool`, each with the greatest least Euclidean distance to `taken` and to those before it.

    The first of equals in the pool. Where none is taken, the cell at the share `first` of the pool is the first.
    """
    if count >= len(pool):
        return pool.tolist()
    rows, columns = squares(height), squares(width)

    def distances(cells: np.ndarray) -> np.ndarray:
        """The squared distance of each cell of the pool to the nearest of `cells`."""
        y, x = np.divmod(cells, width)
        return (rows[y][:, :, None] + columns[x][:, None]).min(0).ravel()[pool]

    chosen = [] if taken else [int(pool[int(first * len(pool))])]
    least = distances(np.array([*taken, *chosen]))
    while len(chosen) < count:
        cell = int(pool[least.argmax()])
        chosen.append(cell)
        to_cell = rows[cell // width][:, None] + columns[cell % width]
        np.minimum(least, to_cell.ravel()[pool], out=least)
    return chosen


@lru_cache
def squares(length: int) -> np.ndarray:
    """`[length, length]`: the squared differences of all indices."""
    index = np.arange(length, dtype=np.int32)
    return (index - index[:, None]) ** 2
