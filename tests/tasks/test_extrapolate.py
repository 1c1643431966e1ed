"""Resolution extrapolation."""

from dataclasses import replace

import pytest
import torch
from tiny_tasks import (
    GRID,
    OPTIONS,
    Recorder,
    classes,
    random_ids,
)

from randar_core.decoding.guidance import Guidance, Linear
from randar_core.tasks.extrapolate import extrapolate
from randar_core.tasks.generate import generate

SPATIAL = replace(OPTIONS, guidance=Guidance(Linear(1, 3), Linear(1, 2.5)))


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("options", [OPTIONS, SPATIAL])
def test_every_cell_is_drawn_and_the_low_resolution_lies_on_multiples(model, factor, options):
    seen = Recorder()
    decoded = extrapolate(model, classes(2), options, factor, on_step=seen)
    seen.check()
    assert decoded.ids.shape == (2, factor * GRID, factor * GRID)
    assert decoded.known.all() and seen.known[0].shape == decoded.ids.shape
    assert torch.equal(decoded.ids[:, ::factor, ::factor], generate(model, classes(2), OPTIONS).ids)


def test_a_given_picture_is_the_low_resolution(model):
    ids = random_ids(2, GRID, GRID)
    decoded = extrapolate(model, classes(2), SPATIAL, 2, ids=ids)
    assert torch.equal(decoded.ids[:, ::2, ::2], ids)
    assert (decoded.confidence[:, ::2, ::2] == 1).all() and (decoded.confidence[:, 1::2] < 1).all()


def test_an_extrapolated_batch_may_be_split(model):
    together = extrapolate(model, classes(3), SPATIAL, 2)
    split = extrapolate(model, classes(3), replace(SPATIAL, batch_size=2), 2)
    alone = extrapolate(model, classes(3)[2:], replace(SPATIAL, batch_index=[2]), 2)
    assert torch.equal(together.ids, split.ids)
    assert torch.equal(together.ids[2:], alone.ids)


def test_an_order_of_the_large_grid_rules_the_low_resolution_too(model):
    order = torch.arange(4 * GRID * GRID).flip(0)
    seen = Recorder()
    extrapolate(model, classes(1), replace(OPTIONS, order=order, steps=999), 2, on_step=seen)
    low = seen.known[GRID * GRID // 2 - 1][0, ::2, ::2].flatten()
    assert torch.equal(low, torch.arange(GRID * GRID) >= GRID * GRID // 2)


def test_the_dropped_context_matters_and_may_be_given(model):
    kept = torch.ones(1, GRID, GRID, dtype=torch.bool)
    ids = random_ids(1, GRID, GRID)
    chance, all_kept, none_kept = (
        extrapolate(model, classes(1), SPATIAL, 2, ids=ids, context_mask=given).ids for given in (None, kept, ~kept)
    )
    assert not torch.equal(chance, all_kept) and not torch.equal(all_kept, none_kept)
    # Nothing dropped: B and C are one, and what is left is class guidance.
    plain = extrapolate(model, classes(1), OPTIONS, 2, ids=ids).ids
    assert torch.equal(all_kept, plain)


def test_extrapolation_stops_when_asked(model):
    for calls in (2, 6):
        seen = Recorder(stop_after=calls)
        assert not extrapolate(model, classes(1), OPTIONS, 2, on_step=seen).known.all()
        assert len(seen.calls) == calls


def test_extrapolation_says_what_it_needs(model):
    with pytest.raises(ValueError, match="factor is 1"):
        extrapolate(model, classes(1), OPTIONS, 1)
    with pytest.raises(ValueError, match="factor is 1.5"):
        extrapolate(model, classes(1), OPTIONS, 1.5)
    with pytest.raises(ValueError, match=r"\[1, 3, 3\].*\[1, 4, 4\]"):
        extrapolate(model, classes(1), OPTIONS, 2, ids=random_ids(1, 3, 3))
    with pytest.raises(ValueError, match="drop ratio is 2"):
        extrapolate(model, classes(1), OPTIONS, 2, drop_ratio=2)


def test_a_context_of_another_shape_is_refused(model):
    kept = torch.ones(1, GRID * GRID, dtype=torch.bool)
    with pytest.raises(ValueError, match=rf"shape \[1, {GRID * GRID}\]; .* need \[1, {GRID}, {GRID}\]"):
        extrapolate(model, classes(1), SPATIAL, 2, context_mask=kept)
