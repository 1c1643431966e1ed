"""Outpaint and Canvas."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F


def test_outpainting_keeps_the_picture(run, picture):
    image, latent, confidence = run("RandAROutpaint", image=picture, left=5, top=0, right=16, bottom=3)
    assert image.shape == (1, 43, 74, 3) and image[:, :40, 5:58].equal(picture)
    assert confidence.shape == (1, 43, 74)


def test_the_confidence_lies_over_the_pixels_that_it_is_of(run, picture):
    """Also where the canvas begins within a cell: 53 pixels are no whole number of cells."""
    _, _, confidence = run("RandAROutpaint", image=picture, left=0, top=0, right=16, bottom=0)
    assert (confidence[..., :53] == 1).all() and (confidence[..., 53:] < 1).all()


def test_outpainting_by_nothing_gives_the_picture_back(run, picture):
    assert run("RandAROutpaint", image=picture, left=0, top=0, right=0, bottom=0)[0].equal(picture)


def test_the_cores_padding_says_where_to_outpaint(run, picture):
    padded = F.pad(picture, (0, 0, 8, 0, 0, 16), value=0.5)
    mask = F.pad(torch.zeros(1, 40, 53), (8, 0, 0, 16), value=1.0)
    by_mask = run("RandAROutpaint", image=padded, mask=mask, left=64, top=64, right=64, bottom=64)[0]
    assert by_mask.equal(run("RandAROutpaint", image=picture, left=8, top=0, right=0, bottom=16)[0])


def padded_as_the_core_does(image, left, top, right, bottom, feathering):
    """The formula of ComfyUI's Pad Image for Outpainting: the padded picture and its mask."""
    _, height, width, _ = image.shape
    padded = F.pad(image, (0, 0, left, right, top, bottom), value=0.5)
    mask, inside = torch.ones(height + top + bottom, width + left + right), torch.zeros(height, width)
    if feathering > 0 and feathering * 2 < height and feathering * 2 < width:
        for y, x in product(range(height), range(width)):
            from_top, from_bottom = y if top else height, height - y if bottom else height
            from_left, from_right = x if left else width, width - x if right else width
            distance = min(from_top, from_bottom, from_left, from_right)
            if distance < feathering:
                inside[y, x] = ((feathering - distance) / feathering) ** 2
    mask[top : top + height, left : left + width] = inside
    return padded, mask.unsqueeze(0)


@pytest.mark.parametrize("sides", list(product((0, 1, 2, 16), (0, 1, 2, 16), (0, 3), (0, 3))))
@pytest.mark.parametrize("feathering", [0, 1, 2, 19, 40])
def test_the_cores_padding_is_taken_off_to_the_pixel(pack, picture, sides, feathering):
    """19 is the most that 40×53 pixels allow; with 40 the core feathers nothing."""
    margins = dict(zip(("left", "top", "right", "bottom"), sides, strict=True))
    padded, mask = padded_as_the_core_does(picture, **margins, feathering=feathering)
    own, found = pack.module("nodes.outpaint").without_padding(padded.permute(0, 3, 1, 2), mask)
    assert found == margins and own.permute(0, 2, 3, 1).equal(picture)


def test_a_picture_whose_padding_is_feathered_stays_to_the_bit(run):
    picture = torch.rand(1, 84, 90, 3, generator=torch.Generator().manual_seed(0))
    padded, mask = padded_as_the_core_does(picture, 8, 4, 0, 0, feathering=40)
    assert run("RandAROutpaint", image=padded, mask=mask, left=0, top=0, right=0, bottom=0)[0][:, 4:, 8:].equal(picture)


def test_a_grey_picture_without_feathering_loses_nothing(pack):
    padded, mask = padded_as_the_core_does(torch.full((1, 8, 8, 3), 0.5), 4, 4, 0, 0, feathering=0)
    assert pack.module("nodes.outpaint").without_padding(padded.permute(0, 3, 1, 2), mask)[1]["top"] == 4


def test_masks_that_differ_are_refused(run, picture):
    masks = torch.stack([F.pad(torch.zeros(32, 45), frame, value=1.0) for frame in ((8, 0, 8, 0), (0, 8, 0, 8))])
    with pytest.raises(ValueError, match="2 masks that differ.*one at a time"):
        run("RandAROutpaint", image=picture, mask=masks, left=0, top=0, right=0, bottom=0)
    same = run("RandAROutpaint", image=picture, mask=masks[:1].repeat(2, 1, 1), left=0, top=0, right=0, bottom=0)[0]
    assert same.shape == picture.shape


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (torch.zeros(1, 64, 64), "64×64 pixels, the picture 53×40"),
        (torch.ones(1, 40, 53), "covers the whole picture"),
        (F.pad(torch.ones(1, 20, 20), (10, 23, 10, 10)), "isn't a frame"),
    ],
)
def test_a_mask_that_is_not_a_frame_is_refused(run, picture, mask, words):
    with pytest.raises(ValueError, match=words):
        run("RandAROutpaint", image=picture, mask=mask, left=0, top=0, right=0, bottom=0)


def test_a_canvas_has_any_size(run, model):
    latent, confidence = run("RandARCanvas", width=50, height=18)
    assert latent["samples"].shape == (1, 4, 5, 13) and confidence.shape == (1, 20, 52)
    assert model.vae.decode(latent["samples"]).shape == (1, 20, 52, 3)
