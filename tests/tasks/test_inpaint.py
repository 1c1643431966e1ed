"""Inpainting: what stays bit for bit, what is drawn again, and how it is joined."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_tasks import FACTOR, GRID, OPTIONS, SIZE, Recorder, Shifted, classes, picture, plainly, sizes

from randar_core.decoding.canvas import Canvas
from randar_core.decoding.orders import Painted
from randar_core.tasks.blending import dilate
from randar_core.tasks.crops import crops_of, label_regions
from randar_core.tasks.generate import generate
from randar_core.tasks.inpaint import crops_and_known, inpaint


def native_ids(model, tokenizer, pixels, mask):
    ids = tokenizer.encode(pixels)
    cells = torch.nn.functional.max_pool2d((mask > 0).float(), FACTOR) > 0
    canvas = Canvas(ids, ~cells)
    return plainly(model, canvas)


def test_a_picture_of_the_models_size_gets_the_tokens_of_the_native_way(model, tokenizer):
    pixels, mask = picture(2, 3, SIZE, SIZE), torch.zeros(2, SIZE, SIZE)
    mask[0, 1:5, 2:4] = 1
    mask[1, 3:, :5] = 1
    done = inpaint(model, tokenizer, pixels, mask, classes(2), OPTIONS)
    assert torch.equal(done.decoded.ids, native_ids(model, tokenizer, pixels, mask))


@given(
    size=sizes,
    batches=st.sampled_from([(1, 1), (2, 1), (1, 2), (2, 2)]),
    channels=st.sampled_from([3, 4]),
    kind=st.sampled_from(["noise", "soft", "box", "dot"]),
    grow=st.integers(0, 4),
    seam=st.integers(0, 9),
    context=st.floats(1, 4),
    denoise=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 99),
)
@settings(max_examples=50, deadline=None)
def test_pixels_outside_the_grown_mask_stay_bit_for_bit(
    model, tokenizer, size, batches, channels, kind, grow, seam, context, denoise, seed
):
    height, width = size
    pixels = picture(batches[0], channels, height, width, seed=seed)
    noise = picture(batches[1], height, width, seed=seed + 1)
    mask = {
        "noise": (noise > 0.8).float(),
        "soft": (noise - 0.7).clamp(min=0),
        "box": torch.zeros_like(noise),
        "dot": torch.zeros_like(noise),
    }[kind]
    if kind == "box":
        mask[:, height // 3 : height // 2 + 1, width // 4 : width // 2 + 1] = 1
    if kind == "dot":
        mask[0, -1, -1] = 1
    before = pixels.clone()
    done = inpaint(model, tokenizer, pixels, mask, classes(1), OPTIONS, denoise, grow, seam, context)
    outside = (dilate(mask, grow) == 0).expand(max(batches), -1, -1)
    expected = pixels.expand(max(batches), -1, -1, -1)
    assert torch.equal(pixels, before)
    assert done.pixels.shape == expected.shape
    assert torch.equal(done.pixels.movedim(1, 3)[outside], expected.movedim(1, 3)[outside])
    assert torch.equal(done.pixels[:, 3:], expected[:, 3:])
    assert done.pixels.isfinite().all()
    assert (done.confidence[outside] == 1).all()


def test_an_empty_mask_gives_the_picture_back(model, tokenizer):
    pixels = picture(2, 3, 9, 7)
    done = inpaint(model, tokenizer, pixels, torch.zeros(1, 9, 7), classes(1), OPTIONS)
    assert torch.equal(done.pixels, pixels)
    assert done.decoded is None


def test_a_full_mask_draws_the_picture_anew(model, tokenizer):
    pixels = picture(1, 3, SIZE, SIZE)
    done = inpaint(model, tokenizer, pixels, torch.ones(1, SIZE, SIZE), classes(1), OPTIONS)
    assert torch.equal(done.decoded.ids, generate(model, classes(1), OPTIONS).ids)
    with torch.no_grad():
        assert torch.equal(done.pixels, tokenizer.decode(done.decoded.ids).clamp(0, 1))


def test_a_class_edit_depends_on_the_class_and_denoise_keeps_a_share(model, tokenizer):
    pixels, mask = picture(1, 3, SIZE, SIZE), torch.ones(1, SIZE, SIZE)
    given_ids = tokenizer.encode(pixels)
    edits = [inpaint(model, tokenizer, pixels, mask, torch.tensor([c]), OPTIONS).decoded.ids for c in (0, 1)]
    assert not torch.equal(*edits)
    seen = Recorder()
    kept = inpaint(model, tokenizer, pixels, mask, torch.tensor([1]), OPTIONS, denoise=0.25, on_step=seen)
    assert (kept.decoded.confidence == 1).sum() == 12
    assert (kept.decoded.ids == given_ids).sum() >= 12


def test_cells_beyond_the_picture_are_drawn_whatever_share_of_the_mask_is_kept(model, tokenizer):
    pixels, mask = picture(1, 3, SIZE // 2, 4 * SIZE), torch.zeros(1, SIZE // 2, 4 * SIZE)
    mask[0, :, SIZE : 2 * SIZE] = 1
    on = torch.zeros(GRID, GRID, dtype=torch.bool)
    on[1:3] = True  # the square is as high as four pictures, and in its middle; half of what is on it is masked
    for denoise, drawn in ((1.0, 4), (0.5, 2), (0.01, 1)):
        done = inpaint(model, tokenizer, pixels, mask, classes(1), OPTIONS, denoise)
        (crop,) = done.crops
        assert crop.side == 2 * SIZE
        given = done.decoded.confidence[0] == 1
        assert not given[~on].any()
        assert (~given[on]).sum() == drawn


def test_regions_far_apart_get_squares_of_their_own(model, tokenizer):
    mask = torch.zeros(1, 40, 60)
    mask[0, 3:6, 3:6] = mask[0, 30:34, 50:53] = 1
    crops = crops_of(label_regions(mask > 0), 2, SIZE)
    assert [(c.top, c.left, c.side) for c in crops] == [(0, 0, 8), (28, 47, 8)]
    done = inpaint(model, tokenizer, picture(1, 3, 40, 60), mask, classes(1), OPTIONS)
    assert len(done.decoded.ids) == 2


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize("size, region", [((128, 512), (76, 216)), ((32, 120), (32, 40)), ((1, 40), (1, 4))])
def test_what_the_picture_shows_beside_a_region_is_known(model, tokenizer, size, region, upright):
    (height, width), (high, wide) = (size[::-1], region[::-1]) if upright else (size, region)
    mask = torch.zeros(1, height, width)
    top, left = (height - high) // 2, (width - wide) // 2
    mask[0, top : top + high, left : left + wide] = 1
    done = inpaint(model, tokenizer, picture(1, 3, height, width), mask, classes(1), OPTIONS)
    (crop,) = done.crops
    before, after = (crop.top, top + high) if upright else (crop.left, left + wide)
    assert crop.side == 2 * max(region[1], min(size) // 2)
    assert before < (top if upright else left) and after < before + crop.side
    known = done.decoded.confidence[0] == 1
    known = known.T if upright else known
    middle = GRID // 2
    assert known[middle, 0] and known[middle, -1] and not known[middle, middle]


def test_a_region_wider_than_the_picture_is_high_gets_a_square_over_the_edges(model, tokenizer):
    mask = torch.zeros(1, 4, 40)
    mask[0, 1:3] = 1
    (crop,) = crops_of(label_regions(mask > 0), 2, SIZE)
    assert (crop.top, crop.left, crop.side) == (-18, 0, 40)
    done = inpaint(model, tokenizer, picture(1, 3, 4, 40), mask, classes(1), OPTIONS)
    assert not done.decoded.known.logical_not().any()


def test_a_square_sees_its_part_of_a_painting(model, tokenizer):
    mask, painting, seen = torch.zeros(1, 4 * SIZE, 4 * SIZE), torch.zeros(4 * SIZE, 4 * SIZE), Recorder()
    mask[0, SIZE : 2 * SIZE, :SIZE] = 1
    painting[2 * SIZE - FACTOR : 2 * SIZE, :SIZE] = 1  # the lowest row of the square
    options = replace(OPTIONS, order=Painted(painting), steps=999)
    inpaint(model, tokenizer, picture(1, 3, 4 * SIZE, 4 * SIZE), mask, classes(1), options, context=1, on_step=seen)
    assert seen.known[GRID - 1][0].tolist() == [[False] * GRID] * (GRID - 1) + [[True] * GRID]


def test_cell_indices_order_the_squares_of_all_pictures(model, tokenizer):
    mask, order = torch.zeros(1, SIZE, SIZE), torch.randperm(GRID**2, generator=torch.Generator().manual_seed(1))
    mask[0, : SIZE // 2] = 1
    drawn = [
        inpaint(model, tokenizer, picture(2, 3, SIZE, SIZE), mask, classes(2), replace(OPTIONS, order=each)).pixels
        for each in (order, order.expand(1, -1), order.expand(2, -1))
    ]
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2])
    with pytest.raises(ValueError, match="expected \\[2, "):
        inpaint(
            model, tokenizer, picture(2, 3, SIZE, SIZE), mask, classes(2), replace(OPTIONS, order=order.expand(3, -1))
        )


def test_masks_pictures_and_settings_that_do_not_match_are_named(model, tokenizer):
    pixels = picture(2, 3, 8, 8)
    given = {"model": model, "tokenizer": tokenizer, "pixels": pixels, "mask": torch.ones(1, 8, 8)}
    given |= {"prompts": classes(1), "options": OPTIONS}
    for match, arguments in {
        "mask is 4×5, the picture is 8×8": {"mask": torch.ones(1, 5, 4)},
        r"mask has the shape \[8, 8\]": {"mask": torch.ones(8, 8)},
        r"picture has the shape \[2, 1, 8, 8\]": {"pixels": picture(2, 1, 8, 8)},
        "2 pictures don't match 3 masks": {"mask": torch.ones(3, 8, 8)},
        "2 classes don't match": {"prompts": classes(2), "mask": torch.ones(3, 8, 8), "pixels": pixels[:1]},
        "Denoise is 1.5": {"denoise": 1.5},
        "grow by -1": {"grow": -1},
        "context is 0.5": {"context": 0.5},
    }.items():
        with pytest.raises(ValueError, match=match):
            inpaint(**{**given, **arguments})


@pytest.mark.parametrize("size", [(SIZE, SIZE), (3 * SIZE, 2 * SIZE)])
def test_what_the_tokenizer_gets_wrong_beside_the_mask_leaves_no_patch(model, tokenizer, size):
    pixels, mask = 0.3 + 0.3 * picture(1, 3, *size), torch.zeros(1, *size)
    mask[:, 3:5, 2:6] = 1
    plain, shifted = (
        inpaint(model, Shifted(tokenizer, amount), pixels, mask, classes(1), OPTIONS).pixels for amount in (0.0, 0.2)
    )
    torch.testing.assert_close(shifted, plain, rtol=0, atol=1e-5)
    everywhere = torch.ones_like(mask)  # with nothing left to go by, what was drawn is what there is
    plain, shifted = (
        inpaint(model, Shifted(tokenizer, amount), pixels, everywhere, classes(1), OPTIONS, seam=0).pixels
        for amount in (0.0, 0.2)
    )
    torch.testing.assert_close(shifted, plain + 0.2, rtol=0, atol=1e-5)


def test_other_content_beside_the_mask_is_no_error_of_the_tokenizer(model, tokenizer):
    """A corner that the brush missed lies in a cell that is drawn again: the rest doesn't take on its colour."""
    pixels, mask = torch.full((1, 3, SIZE, SIZE), 0.5), torch.ones(1, SIZE, SIZE)
    mask[:, 0, 0] = 0
    black = pixels.clone()
    black[..., 0, 0] = 0
    plain = inpaint(model, Shifted(tokenizer, 0.0), pixels, mask, classes(1), OPTIONS, seam=0).pixels
    missed = inpaint(model, Shifted(tokenizer, 0.0), black, mask, classes(1), OPTIONS, seam=0).pixels
    assert torch.equal(plain[:, :, mask[0] > 0], missed[:, :, mask[0] > 0])


def test_many_squares_are_matched_in_pieces_as_together(model, tokenizer):
    pixels, mask = 0.3 + 0.3 * picture(1, 3, 5 * SIZE, 5 * SIZE), torch.zeros(1, 5 * SIZE, 5 * SIZE)
    mask[:, 3 :: 2 * SIZE, 3 :: 2 * SIZE] = 1
    together, apart = (
        inpaint(model, tokenizer, pixels, mask, classes(1), replace(OPTIONS, batch_size=batch)) for batch in (None, 2)
    )
    assert len(together.crops) > 2
    torch.testing.assert_close(together.pixels, apart.pixels, rtol=0, atol=1e-5)


def test_the_crops_of_a_mask_and_their_known_cells_are_those_that_are_drawn():
    mask = torch.zeros(2, 10, 200, dtype=torch.bool)
    assert crops_and_known(mask, 3, 2.0, 8, 4) == ([], [])
    mask[1, 5, :1] = mask[1, 5, 150:160] = True
    crops, known = crops_and_known(mask, 3, 2.0, 8, 4)
    assert [crop.picture for crop in crops] == [1, 1] and max(known) < 16
