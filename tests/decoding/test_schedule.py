"""Schedules: the sizes of the calls."""

import math
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from randar_core.decoding.lpd_groups import LPD_GROUPS
from randar_core.decoding.schedule import SCHEDULES, call_sizes

shared = settings(deadline=None, max_examples=100)


@pytest.mark.parametrize("schedule", SCHEDULES)
@shared
@given(cells=st.integers(1, 1024), steps=st.integers(1, 1200), data=st.data())
def test_every_schedule_draws_every_unknown_cell_once(schedule, cells, steps, data):
    known = data.draw(st.integers(0, cells))
    sizes = call_sizes(cells, steps, known, schedule)
    assert sum(sizes) == cells - known
    assert all(size >= 1 for size in sizes)
    if known == 0 and schedule == "arccos":
        assert len(sizes) == min(steps, cells)
    elif known == 0:
        assert sizes[0] == 1
        assert len(sizes) == min(max(steps, 2), cells)


@shared
@given(cells=st.integers(1, 1024), steps=st.integers(1, 1200))
def test_the_calls_of_the_sorted_cosine_never_shrink(cells, steps):
    sizes = call_sizes(cells, steps, schedule="sorted cosine")
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("schedule", ["sorted cosine", "lpd"])
@shared
@given(cells=st.integers(1, 1024), steps=st.integers(1, 1200), data=st.data())
def test_a_partly_known_canvas_enters_the_sequence_of_groups_where_so_many_are_drawn(schedule, cells, steps, data):
    known = data.draw(st.integers(0, cells))
    ends = list(accumulate(call_sizes(cells, steps, 0, schedule)))
    ends_left = list(accumulate(call_sizes(cells, steps, known, schedule), initial=known))
    assert ends_left == [known] + [end for end in ends if end > known]


@pytest.mark.parametrize("cells, calls", LPD_GROUPS)
def test_the_groups_that_lpd_was_published_with_are_complete(cells, calls):
    sizes = call_sizes(cells, calls, schedule="lpd")
    assert (len(sizes), sum(sizes)) == (calls, cells)
    assert sizes == sorted(sizes)
    rule = call_sizes(cells, calls, schedule="sorted cosine")
    assert all(abs(size - by_rule) <= 2 for size, by_rule in zip(sizes, rule, strict=True))


def test_lpd_draws_256_cells_in_20_calls_and_1024_in_48():
    sizes = call_sizes(256, 20, schedule="lpd")
    assert sizes[:10] == [1, 2, 4, 5, 7, 8, 10, 11, 12, 14]
    assert sizes[10:] == [15, 16, 17, 18, 18, 19, 19, 20, 20, 20]
    assert call_sizes(256, 20, known=200, schedule="lpd") == [16, 20, 20]
    large = call_sizes(1024, 48, schedule="lpd")
    assert large[:22] == list(range(1, 23)) and large[-3:] == [33, 33, 34]


def test_arccos_draws_256_cells_in_calls_of_three_that_end_in_a_burst():
    sizes = call_sizes(256, 64, schedule="arccos")
    assert sizes[:6] == [3, 3, 2, 3, 2, 3] and sizes[-6:] == [7, 7, 7, 10, 12, 28]
    sizes = call_sizes(256, 32, schedule="arccos")
    assert sizes[:3] == [6, 5, 5] and sizes[-3:] == [14, 17, 40]
    assert call_sizes(256, 1, schedule="arccos") == [256]


@shared
@given(cells=st.integers(1, 1024), steps=st.integers(1, 1200), data=st.data())
def test_arccos_takes_the_fewer_calls_the_more_is_known_and_no_more_than_there_are_cells(cells, steps, data):
    known = data.draw(st.integers(0, cells))
    calls = [len(call_sizes(cells, steps, count, "arccos")) for count in (0, known, cells)]
    assert calls == sorted(calls, reverse=True)
    assert calls[1] <= cells - known


def test_a_partly_known_canvas_enters_arccos_at_the_phase_where_that_share_is_drawn():
    # Three quarters are drawn at the phase sin(3π/8) = 0.924: ceil(64 · 0.076) calls are left.
    assert call_sizes(256, 64, known=192, schedule="arccos") == [7, 8, 9, 12, 28]


def test_an_unknown_schedule_is_refused_with_the_names_of_those_there_are():
    with pytest.raises(ValueError, match="'golden'; choose one of cosine, sorted cosine"):
        call_sizes(16, 4, schedule="golden")


@shared
@given(cells=st.integers(1, 1024), steps=st.integers(1, 1200), data=st.data())
def test_the_cosine_of_a_partly_known_canvas_takes_the_share_of_calls_that_is_left(cells, steps, data):
    known = data.draw(st.integers(0, cells - 1))
    if known:
        share_left = 1 - 2 / math.pi * math.acos(1 - known / cells)
        assert len(call_sizes(cells, steps, known)) == min(max(1, math.ceil(steps * share_left)), cells - known)


def test_88_steps_draw_256_cells_in_88_calls_of_at_most_5():
    sizes = call_sizes(256, 88)
    assert (len(sizes), max(sizes)) == (88, 5)


def test_continuing_at_the_phase_of_the_known_share_keeps_the_calls_parallel():
    assert len(call_sizes(256, 64, known=192)) == 11


def test_a_model_that_draws_one_token_a_call_has_as_many_calls_as_unknown_cells():
    assert call_sizes(16, 5, known=6, parallel=False) == [1] * 10


@pytest.mark.parametrize("steps", [0, -3])
def test_steps_below_one_are_refused(steps):
    with pytest.raises(ValueError, match="at least 1"):
        call_sizes(16, steps)
