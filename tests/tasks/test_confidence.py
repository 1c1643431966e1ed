"""Confidence of a picture's tokens, and what is drawn again because of it."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_tasks import CODES, GRID, OPTIONS, classes, picture, random_ids

from randar_core.decoding.canvas import Canvas
from randar_core.tasks import confidence
from randar_core.tasks.confidence import remask_least_confident, score_confidence
from randar_core.tasks.refine import refine


@given(share=st.floats(0, 1), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_the_least_sure_share_is_forgotten(share, seed):
    sure = picture(2, 5, 6, seed=seed)
    canvas = Canvas(random_ids(2, 5, 6), picture(2, 5, 6, seed=seed + 1) < 0.4)
    after = remask_least_confident(canvas, sure, share=share)
    assert (after.known | ~canvas.known).all()
    for picture_sure, known, before in zip(sure, after.known, canvas.known, strict=True):
        count = int((~before).sum())
        assert int((~known).sum()) == min(count, max(round(count * share), int(share > 0)))
        kept = picture_sure[known & ~before]
        if kept.numel() and not known.all():
            assert kept.min() >= picture_sure[~known].max()


def test_cells_below_a_probability_are_forgotten():
    sure = torch.tensor([[[0.1, 0.5], [0.9, 0.3]]])
    canvas = remask_least_confident(Canvas.empty(1, 2, 2), sure, below=0.4)
    assert canvas.known.tolist() == [[[False, True], [True, False]]]


def test_forgetting_takes_either_a_share_or_a_probability():
    canvas = Canvas.empty(1, 2, 2)
    for arguments in ({}, {"share": 0.5, "below": 0.5}):
        with pytest.raises(ValueError, match="not both"):
            remask_least_confident(canvas, torch.zeros(1, 2, 2), **arguments)
    with pytest.raises(ValueError, match="share is 1.5"):
        remask_least_confident(canvas, torch.zeros(1, 2, 2), share=1.5)


@pytest.mark.parametrize("shape", [(2, 4, 4), (2, 3, 9), (1, 10, 5)])
def test_a_picture_of_any_size_is_scored(model, shape):
    canvas = Canvas(random_ids(*shape), torch.zeros(shape, dtype=torch.bool))
    sure = score_confidence(model, canvas, classes(shape[0]), OPTIONS)
    assert sure.shape == shape
    assert ((sure > 0) & (sure < 1)).all()
    assert torch.allclose(sure, score_confidence(model, canvas, classes(shape[0]), replace(OPTIONS, batch_size=1)))


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 2), (1, 2, 9)])
def test_every_cell_of_a_canvas_smaller_than_the_window_is_scored_once_and_by_its_own_cells(model, shape, monkeypatch):
    """Scores that are the cells' positions in the window show which of them are read back."""
    orders = []

    def positions(model, canvas, order, conditions, options):
        orders.append(order)
        return torch.arange(canvas.cells).view(1, GRID, GRID).expand(canvas.ids.shape).float()

    monkeypatch.setattr(confidence, "score", positions)
    canvas = Canvas(random_ids(*shape), torch.zeros(shape, dtype=torch.bool))
    sure = score_confidence(model, canvas, classes(shape[0]), OPTIONS)
    height, width = shape[1], min(shape[2], GRID)
    window = torch.arange(GRID**2).view(GRID, GRID)[:height, :width]
    assert torch.equal(sure[0, :, :width], window.float())
    for order in orders:
        assert torch.equal(order[0, : height * width].sort().values, window.flatten())


def test_no_score_rests_on_blank_cells(model):
    known, outside = picture(1, GRID, GRID) < 0.3, picture(1, GRID, GRID, seed=1) < 0.4
    ids = random_ids(1, GRID, GRID)
    scores = [
        score_confidence(
            model, Canvas(torch.where(outside, other, ids), known & ~outside), classes(1), OPTIONS, outside=outside
        )
        for other in (ids, (ids + 1) % CODES)
    ]
    torch.testing.assert_close(scores[0][~outside], scores[1][~outside], rtol=0, atol=0)


def test_scoring_tells_of_every_window_and_may_be_stopped(model):
    ids, told = random_ids(2, GRID, 2 * GRID), []
    canvas = Canvas(ids, torch.zeros_like(ids, dtype=torch.bool))
    options = replace(OPTIONS, batch_size=1)
    quiet = score_confidence(model, canvas, classes(2), options)
    heard = score_confidence(model, canvas, classes(2), options, on_score=lambda done, of: told.append((done, of)))
    assert torch.equal(heard, quiet)
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]

    def stop(done, of):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        refine(model, ids, classes(2), OPTIONS, share=0.5, on_score=stop)
