"""How new pixels meet old ones."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_tasks import picture

from randar_core.tasks.blending import dilate, edge_of, fade_out, feather, push_pull


@given(seam=st.integers(0, 12), width=st.integers(1, 20))
@settings(max_examples=20, deadline=None)
def test_the_seam_rises_inside_the_mask_and_reaches_one(seam, width):
    mask = torch.zeros(1, 40, 40)
    mask[0, 8 : 8 + width, 8:34] = 1
    opacity = feather(mask, seam)
    assert (opacity[mask == 0] == 0).all() and (opacity[mask == 1] > 0).all()
    assert opacity.max() == 1
    column = opacity[0, 8 : 8 + width, 20]
    assert (column[: (width + 1) // 2].diff() >= 0).all()


@given(height=st.integers(1, 20), width=st.integers(1, 20), pixels=st.integers(0, 30), seed=st.integers(0, 99))
def test_a_mask_grows_by_so_many_pixels_in_every_direction(height, width, pixels, seed):
    mask = torch.rand(2, height, width, generator=torch.Generator().manual_seed(seed))
    mask *= mask > 0.9
    expected = torch.zeros_like(mask)
    for index, y, x in mask.nonzero().tolist():
        near = expected[index, max(0, y - pixels) : y + pixels + 1, max(0, x - pixels) : x + pixels + 1]
        near.clamp_(min=float(mask[index, y, x]))
    assert torch.equal(dilate(mask, pixels), expected)


def test_the_edge_of_the_picture_is_no_seam():
    assert (feather(torch.ones(1, 9, 9), 4) == 1).all()


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 99),
    share=st.floats(0, 0.3),
)
@settings(max_examples=40, deadline=None)
def test_what_is_carried_on_is_as_at_the_edge_and_never_more(size, seed, share):
    edge = picture(2, *size, seed=seed) < share
    error = picture(2, 3, *size, seed=seed + 1) - 0.5
    error[:, :, 0, 0] = torch.where(edge[:, None, 0, 0], error[:, :, 0, 0], float("nan"))  # a hole in the picture
    carried = push_pull(error, edge)
    for own, there, found in zip(error, edge, carried, strict=True):
        if not there.any():
            assert not found.any()
            continue
        assert torch.equal(found[:, there], own[:, there])
        least, most = (extreme(own[:, there], 1).values[:, None, None] for extreme in (torch.min, torch.max))
        assert (found >= least - 1e-5).all() and (found <= most + 1e-5).all()
    everywhere = push_pull(torch.full_like(error, 0.25), edge)
    assert torch.allclose(everywhere[edge.any(2).any(1)], torch.tensor(0.25), atol=1e-5)


@pytest.mark.parametrize("place", [63, 64, 65, 66, 67, 127, 128])
@pytest.mark.parametrize("upright", [False, True])
def test_what_is_carried_on_follows_the_edge_wherever_it_lies(place, upright):
    """A wave along the edge, of 16 pixels: the pixel beside it has most of it, one far away next to nothing."""
    wave = torch.sin(torch.arange(128) * 2 * torch.pi / 16)
    error = torch.zeros(1, 1, 128, 192)
    error[..., place] = wave
    edge = torch.zeros(1, 128, 192, dtype=torch.bool)
    edge[..., place] = True
    if upright:
        carried = push_pull(error.mT, edge.mT)[0, 0].T
    else:
        carried = push_pull(error, edge)[0, 0]
    share = (carried * wave[:, None]).sum(0) / (wave**2).sum()
    assert 0.6 < share[place - 1] < 1 and 0.6 < share[place + 1] < 1
    assert abs(share[place + 40 :]).max() < 0.05


def test_an_edge_is_the_old_pixels_beside_new_ones():
    old = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 1], [1, 1, 1, 1]]).bool()[None]
    new = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]).bool()[None]
    beside = torch.tensor([[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 0, 1], [0, 1, 1, 1]]).bool()[None]
    assert torch.equal(edge_of(old, new), beside)
    assert not edge_of(old, torch.zeros_like(old)).any()


def test_an_error_fades_out_around_what_is_old():
    faded = fade_out(2, 3, (2, 0, 1, 4), 2)
    assert faded.shape == (7, 5)
    assert (faded[1:3, 2:] == 1).all()
    torch.testing.assert_close(faded[1, :2], torch.tensor([1 / 3, 2 / 3]))
    torch.testing.assert_close(faded[3:, 2], torch.tensor([2 / 3, 1 / 3, 0, 0]))
    torch.testing.assert_close(faded[0, 1], torch.tensor(1 - 2**0.5 / 3))
