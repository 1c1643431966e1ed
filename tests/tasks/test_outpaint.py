"""Outpainting: the original stays, the rest grows out of it."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_tasks import FACTOR, GRID, OPTIONS, SIZE, Recorder, Shifted, classes, picture, sizes

from randar_core.tasks.outpaint import outpaint

FEW_CALLS = replace(OPTIONS, steps=1)  # a window; what is tested of many windows is the same with more


@given(
    size=sizes,
    amounts=st.lists(st.integers(0, 13), min_size=4, max_size=4),
    overlap=st.integers(0, GRID - 1),
    channels=st.sampled_from([3, 4]),
    seam=st.integers(0, 20),
)
@settings(max_examples=20, deadline=None)
def test_the_original_stays_bit_for_bit_wherever_it_grows(model, tokenizer, size, amounts, overlap, channels, seam):
    left, top, right, bottom = amounts
    pixels = picture(1, channels, *size)
    done = outpaint(model, tokenizer, pixels, classes(2), FEW_CALLS, *amounts, overlap=overlap, seam=seam)
    assert done.pixels.shape == (2, channels, size[0] + top + bottom, size[1] + left + right)
    middle = done.pixels[:, :, top : top + size[0], left : left + size[1]]
    assert torch.equal(middle, pixels.expand(2, -1, -1, -1))
    assert ((done.pixels >= 0) & (done.pixels <= 1)).all()
    assert done.decoded.known.all()


@pytest.mark.parametrize("size", [(9, 7), (5, 3), (1, 1), (3, 30)])
def test_growing_by_nothing_gives_the_picture_back_and_draws_nothing(model, tokenizer, size):
    pixels = picture(1, 3, *size)
    done = outpaint(model, tokenizer, pixels, classes(1), OPTIONS)
    assert torch.equal(done.pixels, pixels)
    assert done.decoded.calls == 0


def test_cells_of_the_original_are_known_and_aligned_with_it(model, tokenizer):
    pixels = picture(1, 3, SIZE, SIZE)
    done = outpaint(model, tokenizer, pixels, classes(1), OPTIONS, left=5, bottom=3)
    assert (done.row, done.column) == (0, 3)
    # The tokenizer sees the edge go on where the picture does, as far as a quarter of a window.
    reach = GRID // 4
    amid = tokenizer.encode(F.pad(pixels, (reach * FACTOR, 0, 0, reach * FACTOR), mode="replicate"))
    assert torch.equal(done.decoded.ids[:, :GRID, 3:], amid[:, :GRID, reach:])
    assert (done.decoded.confidence[:, :GRID, 3:] == 1).all()
    assert (done.decoded.confidence[:, :, :3] < 1).all()


def test_a_cell_that_is_partly_new_is_drawn(model, tokenizer):
    done = outpaint(model, tokenizer, picture(1, 3, SIZE, SIZE - 1), classes(1), OPTIONS, left=2, right=1)
    assert (done.decoded.confidence[:, :, 1:-1] == 1).all() and (done.decoded.confidence[:, :, -1] < 1).all()


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
@pytest.mark.parametrize("length", [1, FACTOR, SIZE - 1, SIZE])
def test_all_of_a_picture_that_grows_on_one_side_is_known(model, tokenizer, side, length):
    upright, growth = side in ("top", "bottom"), 3 * FACTOR + 1
    pixels = picture(1, 3, length, SIZE) if upright else picture(1, 3, SIZE, length)
    done = outpaint(model, tokenizer, pixels, classes(1), OPTIONS, **{side: growth})
    sure = done.decoded.confidence[0].T if upright else done.decoded.confidence[0]
    known = (sure == 1).all(0)
    assert torch.equal(known, (sure == 1).any(0)) and known.sum() == -(-length // FACTOR)
    assert known[0 if side in ("right", "bottom") else -1]
    assert (done.row, done.column) == ((4, 0) if side == "top" else (0, 4) if side == "left" else (0, 0))
    odd, shift = length % FACTOR, (-growth) % FACTOR
    starts = {"left": (0, shift), "top": (shift, 0), "right": (0, odd), "bottom": (odd, 0)}
    assert (done.top, done.left) == starts[side]


@pytest.mark.parametrize("size", [(1, 1), (1, SIZE), (SIZE, 1)])
def test_a_picture_narrower_than_a_cell_grows_into_its_surroundings(model, tokenizer, size):
    pixels = picture(1, 3, *size)
    done = outpaint(model, tokenizer, pixels, classes(1), OPTIONS, 3, 3, 3, 3)
    cell = F.pad(pixels, (0, -size[1] % FACTOR, 0, -size[0] % FACTOR), mode="replicate")
    amid = tokenizer.encode(F.pad(cell, (FACTOR,) * 4, mode="replicate"))[:, 1:-1, 1:-1]
    known = done.decoded.confidence[0] == 1
    assert torch.equal(done.decoded.ids[0][known], amid.flatten())
    with torch.no_grad():
        beside = tokenizer.decode(done.decoded.ids)[
            ..., FACTOR * done.row + size[0] - 1, FACTOR * done.column + size[1]
        ]
    flush = outpaint(model, tokenizer, pixels, classes(1), OPTIONS, 3, 3, 3, 3, seam=0)
    torch.testing.assert_close(flush.pixels[..., 3 + size[0] - 1, 3 + size[1]], beside.clamp(0, 1), rtol=0, atol=1e-6)


def test_a_great_amount_is_drawn_window_by_window(model, tokenizer):
    seen = Recorder()
    done = outpaint(model, tokenizer, picture(1, 3, SIZE, SIZE), classes(1), FEW_CALLS, right=300, on_step=seen)
    seen.check()
    assert done.pixels.shape == (1, 3, SIZE, SIZE + 300)
    assert len(seen.calls) > 100


def test_the_error_of_the_tokenizer_does_not_show_at_the_edge(model, tokenizer):
    """Old pixels come back too bright: the step from the last of them to the first new one is as drawn all the same."""
    grown = {"right": SIZE, "bottom": SIZE}
    pixels = 0.3 + 0.3 * picture(1, 3, SIZE, SIZE)
    plain, shifted = (
        outpaint(model, Shifted(tokenizer, amount), pixels, classes(1), OPTIONS, **grown).pixels
        for amount in (0.0, 0.2)
    )
    for beside in ((..., slice(SIZE), SIZE), (..., SIZE, slice(SIZE))):
        torch.testing.assert_close(shifted[beside], plain[beside], rtol=0, atol=0.2 / 65 + 1e-5)
    away = shifted[..., SIZE:] - plain[..., SIZE:]  # what is added fades out
    assert (away.diff(dim=-1)[..., :SIZE, :] > 0).all()
    flush = outpaint(model, Shifted(tokenizer, 0.2), pixels, classes(1), OPTIONS, **grown, seam=2).pixels
    bare = outpaint(model, Shifted(tokenizer, 0.2), pixels, classes(1), OPTIONS, **grown, seam=0).pixels
    assert torch.equal(flush[..., SIZE + 2 :], bare[..., SIZE + 2 :])


def test_outpainting_keeps_the_type_of_the_pixels(model, tokenizer):
    pixels = picture(1, 3, SIZE, SIZE).half()
    done = outpaint(model, Shifted(tokenizer, 0.0), pixels, classes(1), OPTIONS, right=3)
    assert done.pixels.dtype == torch.float16


def test_growing_by_less_than_nothing_is_refused(model, tokenizer):
    with pytest.raises(ValueError, match="left -3.*crop"):
        outpaint(model, tokenizer, picture(1, 3, 8, 8), classes(1), OPTIONS, left=-3)
