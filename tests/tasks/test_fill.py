"""A canvas of any size: what is known, what is drawn, and by which random numbers."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_tasks import CLASSES, CODES, GRID, OPTIONS, Recorder, classes, picture, plainly, random_ids, randomised

from randar_core.decoding.canvas import Canvas
from randar_core.decoding.orders import ORDERS, Painted
from randar_core.decoding.seeding import draw_noise
from randar_core.models.randar import RandAR, RandARConfig
from randar_core.tasks.fill import fill
from randar_core.tasks.generate import generate


def test_a_canvas_of_the_models_size_is_the_plain_decode(model):
    assert torch.equal(generate(model, classes(3), OPTIONS).ids, plainly(model, Canvas.empty(3, GRID, GRID)))


def test_a_partly_known_canvas_of_the_models_size_is_the_plain_decode(model):
    canvas = Canvas(random_ids(2, GRID, GRID), picture(2, GRID, GRID) < 0.5)
    assert torch.equal(fill(model, canvas, classes(2), OPTIONS).ids, plainly(model, canvas))


@given(
    height=st.integers(1, 13),
    width=st.integers(1, 13),
    overlap=st.integers(0, GRID - 1),
    share=st.floats(0, 1),
    box=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=30, deadline=None)
def test_any_canvas_is_filled_and_keeps_what_it_knows(model, height, width, overlap, share, box, seed):
    known = picture(2, height, width, seed=seed) < share
    if box:
        known = torch.zeros_like(known)
        known[:, height // 3 : height // 3 + int(share * height), width // 2 :] = True
    canvas, seen = Canvas(random_ids(2, height, width), known), Recorder()
    decoded = fill(model, canvas, classes(2), OPTIONS, overlap, on_step=seen)
    assert decoded.known.all()
    assert torch.equal(decoded.ids[known], canvas.ids[known])
    assert ((decoded.confidence > 0) & (decoded.confidence <= 1)).all()
    assert decoded.call == decoded.calls == len(seen.calls)
    if seen.calls:
        seen.check()
        assert seen.known[-1].shape == known.shape


def test_a_wide_canvas_is_no_different_in_pieces(model):
    together = generate(model, classes(2), OPTIONS, 7, 11)
    in_pieces = generate(model, classes(2), replace(OPTIONS, batch_size=1), 7, 11)
    alone = generate(model, classes(2)[1:], replace(OPTIONS, batch_index=[1]), 7, 11)
    assert torch.equal(together.ids, in_pieces.ids)
    assert torch.equal(together.ids[1:], alone.ids)


def test_every_cell_of_a_wide_canvas_has_a_random_number_of_its_own(model):
    # A model that is sure of nothing draws what its random numbers say.
    blank = randomised(RandAR(RandARConfig(16, 1, 2, CODES, CLASSES, GRID)), 0.0)
    decoded = generate(blank, classes(1), OPTIONS, 6, 10)
    noise = draw_noise([OPTIONS.seed], [0], 60).view(1, 6, 10)
    assert torch.equal(decoded.ids, (noise * CODES).long())


@pytest.mark.parametrize("name", ORDERS)
def test_any_order_fills_a_wide_canvas(model, name):
    assert generate(model, classes(1), replace(OPTIONS, order=ORDERS[name]), 5, 9).known.all()


def test_each_window_sees_its_part_of_a_painting(model):
    painting = torch.zeros(GRID, 3 * GRID)
    painting[:, GRID] = 1  # the left edge of the window in the middle, which comes first
    seen = Recorder()
    options = replace(OPTIONS, order=Painted(painting), steps=999)
    generate(model, classes(1), options, *painting.shape, on_step=seen)
    assert torch.equal(seen.known[GRID - 1][0], painting > 0)


def test_an_order_given_outright_is_one_of_the_whole_canvas(model):
    order = torch.arange(GRID * 8).flip(0)
    canvas = Canvas(random_ids(1, GRID, 8), torch.zeros(1, GRID, 8, dtype=torch.bool))
    seen = Recorder()
    fill(model, canvas, classes(1), replace(OPTIONS, order=order, steps=99), overlap=0, on_step=seen)
    first_window = seen.known[GRID * GRID - 1].flatten().nonzero()
    assert torch.equal(seen.known[0].flatten().nonzero(), first_window[-1:])
    with pytest.raises(ValueError, match="not a permutation"):
        fill(model, canvas, classes(1), replace(OPTIONS, order=torch.zeros(32, dtype=torch.long)))


def test_a_decode_over_several_windows_stops_when_asked(model):
    seen = Recorder(stop_after=6)
    decoded = generate(model, classes(1), OPTIONS, GRID, 16, on_step=seen)
    assert len(seen.calls) == 6
    assert not decoded.known.all()
    assert torch.equal(decoded.known, decoded.confidence > 0)


@pytest.mark.parametrize("overlap", [-1, GRID])
def test_an_overlap_out_of_range_is_named(model, overlap):
    with pytest.raises(ValueError, match=f"overlap is {overlap} cells.*0 to {GRID - 1}"):
        generate(model, classes(1), OPTIONS, 8, 8, overlap)


def test_a_canvas_without_cells_is_refused(model):
    with pytest.raises(ValueError, match="8×0 cells"):
        generate(model, classes(1), OPTIONS, height=0, width=8)


def test_batches_that_do_not_match_are_named(model):
    with pytest.raises(ValueError, match="2 batch indices.*batch of 1"):
        generate(model, classes(1), replace(OPTIONS, batch_index=[1, 2]))
    with pytest.raises(ValueError, match="batch size is 0; at least 1"):
        generate(model, classes(1), replace(OPTIONS, batch_size=0))
    with pytest.raises(ValueError, match="3 classes don't match 2 pictures"):
        fill(model, Canvas.empty(2, 4, 4), classes(3), OPTIONS)


def test_beside_a_strip_only_the_windows_that_reach_what_is_new_are_drawn(model):
    """What a strip lacks above and below is never seen."""
    strip = Canvas(random_ids(2, 2, 6 * GRID), torch.ones(2, 2, 6 * GRID, dtype=torch.bool))
    strip.known[0, :, -2:] = False
    strip.known[1, :, :2] = False
    upright = Canvas(strip.ids.mT.contiguous(), strip.known.mT.contiguous())
    one_window = fill(model, Canvas.empty(1, GRID, GRID), classes(1), OPTIONS)
    for canvas in (strip, upright):
        decoded = fill(model, canvas, classes(2), OPTIONS)
        assert decoded.known.all() and torch.equal(decoded.ids[canvas.known], canvas.ids[canvas.known])
        assert decoded.calls <= 2 * one_window.calls
