"""Pictures in files: what is read of them, and what is said of those that can't be."""

import errno

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_pictures import profile_with

from randar_core.io import images
from randar_core.io.images import heat_map, read_mask, read_metadata, read_picture, read_pixels, save_png


def saved(path, rgba) -> str:
    Image.fromarray(np.array(rgba, dtype=np.uint8)).save(path)
    return path


CLEAR, RED, WHITE = [9, 200, 9, 0], [255, 0, 0, 255], [255, 255, 255, 255]


def test_a_transparent_picture_is_on_white_where_its_alpha_is_not_asked_for(tmp_path):
    path = saved(tmp_path / "a.png", [[CLEAR, RED]])
    assert read_pixels(path)[0, :, 0].T.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert read_pixels(path, alpha=True)[0, :, 0].T.tolist()[1] == [1, 0, 0, 1]


def test_a_mask_of_strokes_on_a_transparent_ground_marks_the_strokes(tmp_path):
    path = saved(tmp_path / "mask.png", [[[255, 255, 255, 0], WHITE, [0, 0, 0, 255]]])
    said = []
    assert read_mask(path, on_doubt=said.append).tolist() == [[[0, 1, 0]]]
    assert len(said) == 1 and "mask.png' has transparent pixels. Its bright, opaque pixels mark" in said[0]


def test_a_mask_with_a_transparent_hole_marks_the_hole_where_alpha_is_asked_for(tmp_path):
    path = saved(tmp_path / "mask.png", [[[255, 255, 255, 0], WHITE, [255, 255, 255, 51]]])
    said = []
    assert read_mask(path, "alpha", said.append)[0, 0].tolist() == pytest.approx([1, 0, 0.8])
    assert said == []


def test_a_mask_without_transparency_is_its_brightness_and_has_no_alpha_to_take(tmp_path):
    path, said = saved(tmp_path / "mask.png", [[[255, 255, 255], [51, 51, 51]]]), []
    assert read_mask(path, on_doubt=said.append)[0, 0].tolist() == pytest.approx([1, 0.2]) and said == []
    with pytest.raises(ValueError, match="mask.png' has no transparent pixels, and --mask-from alpha"):
        read_mask(path, "alpha")


def test_a_mask_is_read_by_its_own_values_whatever_its_profile(tmp_path):
    values = np.array([[[200, 40, 30]]], dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "mask.png", icc_profile=EXCHANGED)
    assert read_mask(tmp_path / "mask.png").item() == pytest.approx(270 / 3 / 255)


def test_a_damaged_picture_is_named(tmp_path):
    whole = saved(tmp_path / "a.png", np.random.default_rng(0).integers(0, 255, (64, 64, 3))).read_bytes()
    for path, content in (
        (tmp_path / "cut.png", whole[:300]),
        (tmp_path / "chunk.png", whole.replace(b"IDAT", b"IDA\0")),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{path.name}' (can't be read as a picture|is not a picture)"):
            read_pixels(path)
        assert read_metadata(path) is None


def test_a_picture_of_too_many_pixels_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ValueError, match="wide.png' can't be read as a picture: .*exceeds limit"):
        read_pixels(saved(tmp_path / "wide.png", np.zeros((5, 5, 3))))


def test_a_picture_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    save_png(path, torch.zeros(3, 4, 4), {"seed": 1})

    def full(image, file, *_, **__):
        file.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(images.Image.Image, "save", full)
    with pytest.raises(OSError, match="a.png' can't be written .*Make room on the disk"):
        save_png(path, torch.ones(3, 4, 4), {"seed": 2})
    assert read_metadata(path) == {"seed": 1} and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("largest", [1.0, 200.0, 60000.0])
def test_grey_in_floats_is_read_in_its_range(tmp_path, largest):
    path, white = tmp_path / "f.tiff", {1.0: 1, 200.0: 255, 60000.0: 65535}[largest]
    Image.fromarray(np.array([[0, largest / 2, largest]], dtype=np.float32)).save(path)
    expected = [0, round(255 * largest / 2 / white), round(255 * largest / white)]
    assert (read_pixels(path)[0, 0, 0] * 255).round().tolist() == pytest.approx(expected, abs=1)


def test_grey_of_floats_that_are_not_finite_is_refused(tmp_path):
    Image.fromarray(np.array([[0, np.nan]], dtype=np.float32)).save(tmp_path / "f.tiff")
    with pytest.raises(ValueError, match="f.tiff' can't be read as a picture: it holds values that are not finite"):
        read_pixels(tmp_path / "f.tiff")


EXCHANGED = profile_with(b"gXYZ", b"rXYZ")
SRGB = profile_with(b"rXYZ", b"gXYZ")


@pytest.fixture
def photo(tmp_path):
    """A picture in a profile that exchanges red and green, with alpha."""
    values = np.random.default_rng(0).integers(30, 220, (6, 8, 4), dtype=np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(values).save(path, icc_profile=EXCHANGED)
    return path, values


def test_the_model_sees_a_picture_of_another_profile_in_srgb(photo):
    path, values = photo
    pixels = read_picture(path, alpha=True).pixels
    seen = (pixels[0] * 255).round().permute(1, 2, 0).numpy()
    assert np.abs(seen - values[..., [1, 0, 2, 3]]).max() <= 2


def test_a_profile_is_kept_and_pixels_that_have_not_changed_are_equal(photo, tmp_path):
    path, values = photo
    picture = read_picture(path, alpha=True)
    result = picture.pixels[0].clone()
    result[:3, 2:4, 3:5] = torch.tensor([0.9, 0.1, 0.1])[:, None, None]  # red, as the model says it
    save_png(tmp_path / "out.png", picture.in_profile(result), profile=picture.profile)
    with Image.open(tmp_path / "out.png") as written:
        assert written.info["icc_profile"] == EXCHANGED
        found = np.asarray(written)
    changed = np.zeros((6, 8), dtype=bool)
    changed[2:4, 3:5] = True
    assert (found[~changed] == values[~changed]).all()
    assert (found[changed][:, 1] > 200).all() and (found[changed][:, 0] < 60).all()


def test_a_larger_result_keeps_the_original_where_the_picture_is(photo):
    path, values = photo
    picture = read_picture(path)
    result = torch.full((3, 10, 12), 0.5)
    result[:, 1:7, 3:11] = picture.pixels[0]
    kept = picture.in_profile(result, left=3, top=1)
    assert torch.equal(kept[:, 1:7, 3:11], picture.original[0])


@pytest.mark.parametrize("content", [b"", b"no profile", SRGB])
def test_a_picture_without_a_profile_of_its_own_is_taken_as_it_is(tmp_path, content):
    values = np.random.default_rng(0).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png", icc_profile=content or None)
    picture = read_picture(tmp_path / "a.png")
    assert picture.profile is None and ((picture.pixels[0] * 255).round().permute(1, 2, 0).numpy() == values).all()


def test_a_profile_for_another_kind_of_picture_is_ignored(tmp_path):
    Image.fromarray(np.full((2, 2), 100, dtype=np.uint8)).save(tmp_path / "grey.png", icc_profile=EXCHANGED)
    assert (read_pixels(tmp_path / "grey.png") * 255).round().unique().tolist() == [100]


def test_a_heat_map_takes_bytes_and_refuses_what_is_not_finite():
    levels = torch.tensor([[[0, 128, 255]]], dtype=torch.uint8)
    assert torch.allclose(heat_map(levels, 4, 6), heat_map(levels / 255, 4, 6))
    with pytest.raises(ValueError, match="not finite"):
        heat_map(torch.tensor([[[0.5, float("nan")]]]), 4, 4)
