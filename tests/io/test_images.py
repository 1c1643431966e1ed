"""Pictures in files: what is read of them, and what is said of those that can't be."""

import errno

import numpy as np
import pytest
import torch
from PIL import Image

from randar_core.io import images
from randar_core.io.images import read_mask, read_metadata, read_pixels, save_png


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
    assert read_mask(path).tolist() == [[[0, 1, 0]]]


def test_a_damaged_picture_is_named(tmp_path):
    whole = saved(tmp_path / "a.png", np.random.default_rng(0).integers(0, 255, (64, 64, 3))).read_bytes()
    for path, content in (
        (tmp_path / "cut.png", whole[:300]),
        (tmp_path / "chunk.png", whole.replace(b"IDAT", b"IDA\0")),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{path.name}' (can't be read as a picture|is no picture)"):
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
