"""Refining: the most confident cells stay, rounds have random numbers of their own."""

from dataclasses import replace

import pytest
import torch
from tiny_tasks import (
    GRID,
    OPTIONS,
    Recorder,
    classes,
    picture,
    random_ids,
)

from randar_core.decoding.canvas import Canvas
from randar_core.tasks.confidence import remask_least_confident
from randar_core.tasks.generate import generate
from randar_core.tasks.refine import refine


def test_refining_keeps_the_surest_cells(model):
    ids = random_ids(2, GRID, GRID)
    sure = picture(2, GRID, GRID)
    decoded = refine(model, ids, classes(2), OPTIONS, share=0.25, confidence=sure)
    kept = remask_least_confident(Canvas(ids, torch.zeros_like(ids, dtype=torch.bool)), sure, share=0.25).known
    assert torch.equal(decoded.ids[kept], ids[kept])
    assert torch.equal(decoded.confidence[kept], sure[kept])


def test_rounds_have_random_numbers_of_their_own(model):
    ids = random_ids(1, GRID, GRID)
    once = refine(model, ids, classes(1), OPTIONS, share=1)
    twice = refine(model, ids, classes(1), OPTIONS, share=1, rounds=2)
    assert not torch.equal(once.ids, twice.ids)
    assert not torch.equal(once.ids, generate(model, classes(1), OPTIONS).ids)


def test_a_refined_picture_is_no_different_in_a_batch(model):
    ids = random_ids(3, GRID, 2 * GRID)
    together = refine(model, ids, classes(3), OPTIONS, share=0.5, rounds=2)
    alone = refine(model, ids[2:], classes(3)[2:], replace(OPTIONS, batch_index=[2]), share=0.5, rounds=2)
    assert torch.equal(together.ids[2:], alone.ids)


@pytest.mark.parametrize("size", [(GRID, GRID), (1, 1), (GRID - 2, GRID + 3)])
def test_refining_nothing_changes_nothing(model, size):
    ids = random_ids(2, *size)
    for forgotten in ({"share": 0.0}, {"below": 0.0}):
        decoded = refine(model, ids, classes(2), OPTIONS, **forgotten)
        assert torch.equal(decoded.ids, ids) and decoded.calls == 0


def test_refining_counts_its_calls_over_all_rounds_and_stops_when_asked(model):
    ids = random_ids(1, GRID, 2 * GRID)
    seen = Recorder()
    refine(model, ids, classes(1), OPTIONS, share=1.0, rounds=3, on_step=seen)
    assert [call for call, _ in seen.calls] == list(range(1, len(seen.calls) + 1))
    assert {calls for _, calls in seen.calls} == {len(seen.calls)}
    seen = Recorder(stop_after=5)
    refine(model, ids, classes(1), OPTIONS, share=1.0, rounds=3, on_step=seen)
    assert len(seen.calls) == 5


def test_refining_takes_at_least_a_round(model):
    with pytest.raises(ValueError, match="0 rounds"):
        refine(model, random_ids(1, GRID, GRID), classes(1), OPTIONS, share=0.5, rounds=0)
