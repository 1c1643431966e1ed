"""Windows that slide over a large canvas: what they know, in which wave they are drawn."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_tasks import GRID, picture

from randar_core.decoding.windows import window_parts, window_positions


@given(
    grid=st.sampled_from([4, 7, 8]),
    higher=st.integers(0, 16),
    wider=st.integers(0, 16),
    overlap=st.integers(0, 7),
    edges=st.lists(st.floats(0, 1), min_size=4, max_size=4),
    holes=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_windows_need_nothing_of_their_wave_and_nothing_from_the_edge_of_another(
    grid, higher, wider, overlap, edges, holes, seed
):
    height, width, overlap = grid + higher, grid + wider, min(overlap, grid - 1)
    known = torch.zeros(height, width, dtype=torch.bool)
    (top, bottom), (left, right) = sorted(edges[:2]), sorted(edges[2:])
    known[int(top * height) : int(bottom * height), int(left * width) : int(right * width)] = True
    if holes:
        known &= picture(height, width, seed=seed) < 0.7
    depth = {0: 0, 1: 0, 2: 1}.get(overlap, 2 if grid > 4 else 1)
    drawn_in = torch.where(known, 0, -1)  # the last wave, from 1, that drew a cell
    at_an_edge = torch.zeros_like(known)  # where it was drawn at a window's edge from which the picture went on
    for wave, y, x, known_there in window_parts(known, grid, overlap):
        part = slice(y, y + grid), slice(x, x + grid)
        assert not known_there.all()
        assert (drawn_in[part][known_there] >= 0).all() and (drawn_in[part] <= wave).all()
        assert not at_an_edge[part][known_there].any()
        drawn_in[part][~known_there] = wave + 1
        # What lies right outside and is still to be drawn, and what is up to `depth` steps straight inward from there.
        outside = F.pad(torch.zeros(grid, grid, dtype=torch.bool), (1, 1, 1, 1), value=True)
        outside &= F.pad(drawn_in < 0, (1, 1, 1, 1))[y : y + grid + 2, x : x + grid + 2]
        outside[[0, 0, -1, -1], [0, -1, 0, -1]] = False
        outside = F.pad(outside, (2, 2, 2, 2))  # rolling comes round
        reached = torch.zeros_like(outside)
        for steps in range(1, depth + 1):
            for axis, way in ((0, 1), (0, -1), (1, 1), (1, -1)):
                reached |= outside.roll(way * steps, axis)
        at_an_edge[part][~known_there] = reached[3:-3, 3:-3][~known_there]
        assert known.any() or overlap == 0 or wave == 0 or known_there.any()
    assert (drawn_in >= 0).all()
    assert torch.equal(drawn_in == 0, known)
    assert not at_an_edge.any()


def test_windows_that_need_nothing_of_each_other_share_a_wave():
    def waves(height: int, width: int) -> list[int]:
        return [part[0] for part in window_parts(torch.zeros(height, width, dtype=torch.bool), 16, 8)]

    assert waves(16, 40) == [0, 1, 1, 2, 2]
    assert sorted(waves(32, 32)) == [0, 1, 1, 2, 2, 3, 3, 3, 3]
    assert max(waves(64, 64)) == 9  # of 49 windows


@pytest.mark.parametrize("overlap, anew", [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (7, 2)])
def test_a_window_draws_the_outermost_overlapping_cells_anew(overlap, anew):
    grid, stride = 8, 8 - overlap
    parts = list(window_parts(torch.zeros(grid, grid + 2 * stride, dtype=torch.bool), grid, overlap))
    assert [x for _, _, x, _ in parts] == [stride, 0, 2 * stride]
    middle, before, after = (part[3].all(0).nonzero().flatten().tolist() for part in parts)
    assert middle == []
    # The window on the left is drawn when the picture still goes on to the right of the middle one.
    assert before == list(range(stride + anew, min(grid, stride + grid - anew)))
    assert after == list(range(overlap - anew))


def test_windows_overlap_as_was_asked_for():
    known = torch.zeros(GRID, 20, dtype=torch.bool)
    known[:, :6] = True
    new = [x for _, x in window_positions(known, GRID, 1) if x + GRID > 6]
    assert new == [5, 8, 11, 14, 16]
