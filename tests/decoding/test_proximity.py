"""LPD's order and the Halton order: against the published rules, by properties and by cases worked out by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from randar_core.decoding.halton import halton_order
from randar_core.decoding.orders import ORDERS, OrderRequest, Proximity
from randar_core.decoding.proximity import proximity_order
from randar_core.decoding.schedule import call_sizes


def literal(known: np.ndarray, sizes: list[int], repulsion: int, shuffles: np.ndarray) -> list[int]:
    """The rules of the order, cell by cell: the slow form that `proximity_order` must agree with."""
    height, width = known.shape
    drawn = known.ravel().nonzero()[0].tolist()

    def offset(cell: int, other: int) -> tuple[int, int]:
        return abs(cell // width - other // width), abs(cell % width - other % width)

    for size, shuffled in zip(sizes, shuffles, strict=True):
        proximity = {}
        for cell in [cell for cell in shuffled.tolist() if cell not in drawn]:
            offsets = [offset(cell, other) for other in drawn]
            sides, corners = sum(sum(o) == 1 for o in offsets), sum(o == (1, 1) for o in offsets)
            proximity[cell] = sides + corners / 2**0.5
        by_proximity = sorted(proximity, key=proximity.get, reverse=True)
        near = [cell for cell in by_proximity if proximity[cell] >= 1]
        far = [cell for cell in by_proximity if proximity[cell] < 1]
        group: list[int] = []
        for cell in near:
            if len(group) < size and all(max(offset(cell, other)) > repulsion for other in group):
                group.append(cell)
        if not group:
            group = [next(iter(proximity))]
        pool = [cell for cell in far + near if cell not in group]
        if len(pool) <= size - len(group):
            group += pool
        while len(group) < size:
            least = [min(dy**2 + dx**2 for dy, dx in (offset(cell, other) for other in group)) for cell in pool]
            group.append(pool[least.index(max(least))])
        drawn += group
    return drawn


@st.composite
def cases(draw):
    height, width = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    seed = draw(st.integers(0, 2**32))
    generator = np.random.default_rng(seed)
    known = generator.random((height, width)) < draw(st.sampled_from([0, 0, 0.1, 0.5, 0.9]))
    left, sizes = int((~known).sum()), []
    while left:
        sizes.append(int(generator.integers(1, min(left, draw(st.integers(1, 12))) + 1)))
        left -= sizes[-1]
    return known, sizes, draw(st.integers(0, 3)), np.array([generator.permutation(height * width) for _ in sizes])


@settings(max_examples=200, deadline=None)
@given(case=cases())
def test_the_order_follows_the_rules_cell_by_cell(case):
    assert proximity_order(*case).tolist() == literal(*case)


def in_reading_order(groups: int, cells: int, first: int = 0) -> np.ndarray:
    """Shuffles that sort equals by cell, after the `first`."""
    cells = sorted(range(cells), key=lambda cell: (cell != first, cell))
    return np.array([cells] * groups)


def test_groups_of_a_3x3_grid_worked_out_by_hand():
    known = np.zeros((3, 3), dtype=bool)
    known[1, 1] = True
    # Cell 1 is the first of the four at the sides, of which only 7 is two cells away. Then 3 and 5 touch most.
    apart_by_two = proximity_order(known, [2, 2, 3, 1], 1, in_reading_order(4, 9))
    assert apart_by_two.tolist() == [4, 1, 7, 3, 5, 0, 2, 6, 8]
    # With a repulsion of 2 a group has one near cell. Farthest from 1 are 6 and 8; farthest from 3 are 8 and 2; the
    # last group takes 5, and all that is left: 7, which was refused before 0.
    too_few = proximity_order(known, [2, 3, 3], 2, in_reading_order(3, 9))
    assert too_few.tolist() == [4, 1, 6, 3, 8, 2, 5, 7, 0]


@pytest.mark.parametrize("cell", [0, 4, 8])
def test_an_empty_canvas_begins_anywhere(cell):
    order = proximity_order(np.zeros((3, 3), dtype=bool), [1, 8], 1, in_reading_order(2, 9, cell))
    assert order[0] == cell


@pytest.mark.parametrize("grid, steps, repulsion", [(16, 20, 2), (16, 32, 2), (16, 20, 3), (32, 48, 4)])
def test_near_cells_are_apart_and_no_further_one_was_left_where_a_group_took_others(grid, steps, repulsion):
    cells, sizes = grid * grid, call_sizes(grid * grid, steps, schedule="lpd")
    request = OrderRequest(grid, grid, torch.zeros(cells, dtype=torch.bool), sizes, torch.Generator().manual_seed(0))
    y, x = np.divmod(Proximity(repulsion)(request).numpy(), grid)
    drawn = np.zeros((grid + 2, grid + 2))
    end = 0
    for size in sizes:
        group_y, group_x, end = y[end : end + size], x[end : end + size], end + size
        sides = drawn[:-2, 1:-1] + drawn[2:, 1:-1] + drawn[1:-1, :-2] + drawn[1:-1, 2:]
        corners = drawn[:-2, :-2] + drawn[2:, 2:] + drawn[2:, :-2] + drawn[:-2, 2:]
        near = (sides + corners / 2**0.5 >= 1) & (drawn[1:-1, 1:-1] == 0)
        distance = np.maximum(abs(group_y - group_y[:, None]), abs(group_x - group_x[:, None]))
        picks = 0
        while picks < size and near[group_y[picks], group_x[picks]] and (distance[picks, :picks] > repulsion).all():
            picks += 1
        if picks < size:
            rows, columns = near.nonzero()
            to_group = np.maximum(abs(rows - group_y[:picks, None]), abs(columns - group_x[:picks, None]))
            assert (to_group <= repulsion).any(0).all()
        drawn[1 + group_y, 1 + group_x] = 1
    assert drawn[1:-1, 1:-1].all()


@pytest.mark.parametrize("side, repulsion", [(16, 2), (32, 4)])
def test_the_repulsion_is_by_default_the_published_one_of_the_grid(side, repulsion):
    def request() -> OrderRequest:
        sizes = call_sizes(side * side, 20, schedule="lpd")
        known = torch.zeros(side * side, dtype=torch.bool)
        return OrderRequest(side, side, known, sizes, torch.Generator().manual_seed(0))

    assert torch.equal(ORDERS["proximity"](request()), Proximity(repulsion)(request()))
    assert not torch.equal(ORDERS["proximity"](request()), Proximity(repulsion + 1)(request()))


def test_the_halton_sequence_of_bases_2_and_3_on_2x3_cells_worked_out_by_hand():
    # (0, 0), (1/2, 1/3), (1/4, 2/3), (3/4, 1/9), (1/8, 4/9), (5/8, 7/9)
    assert halton_order(2, 3).tolist() == [0, 4, 2, 3, 1, 5]


def test_the_first_cells_of_the_halton_sequence_fall_into_boxes_of_equal_size_one_each():
    order = halton_order(8, 9)
    for rows, columns in ((2, 1), (1, 3), (2, 3), (4, 3), (4, 9), (8, 3)):
        first = order[: rows * columns]
        boxes = first // 9 // (8 // rows) * columns + first % 9 // (9 // columns)
        assert sorted(boxes) == list(range(rows * columns))


def test_the_seed_moves_the_halton_order_over_the_picture():
    known = torch.zeros(48, dtype=torch.bool)
    orders = [
        ORDERS["halton"](OrderRequest(6, 8, known, [48], torch.Generator().manual_seed(seed))) for seed in range(4)
    ]
    moves = {(int(o[0]) // 8, int(o[0]) % 8) for o in orders}
    assert len(moves) > 1
    for order in orders:
        down, right = int(order[0]) // 8, int(order[0]) % 8
        back = (order // 8 - down) % 6 * 8 + (order % 8 - right) % 8
        assert back.tolist() == halton_order(6, 8).tolist()
