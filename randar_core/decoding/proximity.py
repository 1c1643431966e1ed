"""The order of LPD: groups of cells that lie near to what is drawn and apart from one another (arXiv 2507.01957).

Near, because a cell next to drawn ones depends on them most; apart, because the cells of one group are drawn without
knowing each other's tokens (section 3.2).
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

PROXIMITY = np.array([[sides + corners / 2**0.5 for corners in range(5)] for sides in range(5)])
LEVELS = np.unique(-PROXIMITY, return_inverse=True)[1].reshape(PROXIMITY.shape).astype(np.uint8)
"""`[5, 5]`, by drawn neighbours at sides and corners: the rank of the cell, by the sum of 1 / distance to them."""
NEAR = LEVELS[PROXIMITY >= 1].max()  # one drawn side or two corners


def proximity_order(
    known: np.ndarray, sizes: Sequence[int], repulsion: int, shuffles: Iterable[np.ndarray]
) -> np.ndarray:
    """A permutation of the cells of a grid in groups of `sizes`, the cells `known` `[h, w]` (bool) first.

    A group takes the cells of the highest proximity, of at least one side, that have no cell of the group within
    `repulsion` (Chebyshev distance). Where these are too few it takes the cells that lie farthest from the group.
    `shuffles` are permutations `[h w]` of the cells, one for each group: by them cells of equal proximity are sorted,
    and where no cell is near the group begins with their first.
    """
    height, width = known.shape
    drawn = np.zeros((height + 2, width + 2), dtype=np.int8)  # with a rim: each cell has eight neighbours
    drawn[1:-1, 1:-1] = known
    order = [known.ravel().nonzero()[0]]
    for size, shuffled in zip(sizes, shuffles, strict=True):
        shuffled = shuffled[drawn[1:-1, 1:-1].ravel()[shuffled] == 0]
        level = levels(drawn).ravel()[shuffled]
        by_level = shuffled[level.argsort(kind="stable")]
        count = np.count_nonzero(level <= NEAR)
        near, far = by_level[:count], by_level[count:]
        picks = apart(near, size, repulsion, height, width)
        taken = near[picks] if picks else shuffled[:1]
        if len(taken) < size:
            refused = np.ones(count, dtype=bool)
            refused[picks] = False
            pool = np.concatenate([far, near[refused]])
            taken = np.concatenate([taken, farthest(taken, pool, size - len(taken), height, width)])
        order.append(taken)
        drawn[1 + taken // width, 1 + taken % width] = 1
    return np.concatenate(order)


def levels(drawn: np.ndarray) -> np.ndarray:
    """The level of every cell `[h, w]`, where `drawn` `[h + 2, w + 2]` (0 or 1) has a rim of one cell."""
    left_and_right = drawn[:, :-2] + drawn[:, 2:]
    sides = left_and_right[1:-1] + drawn[:-2, 1:-1] + drawn[2:, 1:-1]
    return LEVELS[sides, left_and_right[:-2] + left_and_right[2:]]


def apart(cells: np.ndarray, count: int, repulsion: int, height: int, width: int) -> list[int]:
    """Indices of up to `count` of the `cells`: in turn, those that have none of the taken ones within `repulsion`."""
    # Slices of bytes, with a rim as wide as the repulsion: NumPy costs several times as much on so few numbers.
    span, stride = 2 * repulsion + 1, width + 2 * repulsion
    covered, ones = bytearray((height + 2 * repulsion) * stride), b"\1" * span
    corner = repulsion * (stride + 1)  # from a cell to the first of the square around it
    taken: list[int] = []
    for index, centre in enumerate((cells // width * stride + cells % width + corner).tolist()):
        if covered[centre]:
            continue
        taken.append(index)
        if len(taken) == count:
            break
        for start in range(centre - corner, centre - corner + span * stride, stride):
            covered[start : start + span] = ones
    return taken


def farthest(taken: np.ndarray, pool: np.ndarray, count: int, height: int, width: int) -> np.ndarray | list[int]:
    """`count` cells of `pool`, each with the greatest least Euclidean distance to `taken` and to those before it.

    The first of equals in the pool. All of them where the pool has at most `count` cells that are not taken.
    """
    rows, columns = squares(height), squares(width)
    y, x = np.divmod(taken, width)
    least = (rows[y][:, :, None] + columns[x][:, None]).min(0).ravel()[pool]
    if count >= np.count_nonzero(least):
        return pool[least > 0]
    chosen: list[int] = []
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
