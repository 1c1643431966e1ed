"""A folder of pictures, as people have them."""

import os
import shutil
import sys
from pathlib import PurePosixPath, PureWindowsPath

import numpy as np
import pytest
from PIL import Image, features
from tiny_pictures import save_picture

from randar_core.runtime import progress_lines as progress
from randar_core.training.folder import by_name, open_folder


def test_sub_folders_are_classes_in_the_order_of_their_names(pictures):
    folder = open_folder(pictures, size=16)
    assert folder.classes == ("blue", "red") and len(folder) == 6
    pixels, label = folder[5]
    assert pixels.shape == (16, 16, 3) and pixels.dtype == np.uint8 and label == 1 and pixels[0, 0, 0] == 200


@pytest.mark.parametrize("system", [PurePosixPath, PureWindowsPath])
def test_classes_have_the_same_order_on_every_system(system):
    names = ["C", "b", "A/z", "A-b/a", "a"]
    assert by_name(map(system, names)) == [system(name) for name in ("A/z", "A-b/a", "C", "a", "b")]


def test_an_empty_class_folder_is_named(pictures):
    (pictures / "green").mkdir()
    with pytest.raises(ValueError, match="class folder '.*green' holds no pictures"):
        open_folder(pictures, 16)


def test_broken_and_small_pictures_are_left_out_by_name(pictures):
    (pictures / "red" / "noise.png").write_bytes(b"no picture")
    whole = (pictures / "red" / "0.png").read_bytes()
    (pictures / "red" / "cut.png").write_bytes(whole[: len(whole) - 30])
    (pictures / "red" / "program.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\nshowpage\n")
    save_picture(pictures / "blue" / "small.png", 15, 40)
    folder = open_folder(pictures, 16)
    assert len(folder) == 6
    told = "\n".join(folder.left_out.lines())
    assert all(name in told for name in ("noise.png", "cut.png", "program.png", "small.png")) and "15×40" in told
    assert len(folder.left_out) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all names are Unicode")
def test_a_name_that_is_no_unicode_is_as_good_as_another(pictures):
    shutil.copy(pictures / "red" / "0.png", os.fsencode(pictures / "red") + b"/caf\xe9.png")
    folder = open_folder(pictures, 16)
    assert len(folder) == 7 and folder.facts()["pictures"] == 7


def test_transparent_pictures_lie_on_white_and_lost_ones_are_named(pictures):
    Image.new("RGBA", (20, 20), (255, 0, 0, 0)).save(pictures / "red" / "clear.png")
    folder = open_folder(pictures, 16)
    index = next(i for i, (path, _) in enumerate(folder.files) if path.name == "clear.png")
    assert (folder[index][0] == 255).all()
    (pictures / "red" / "clear.png").write_bytes(b"")
    with pytest.raises(OSError, match="clear.png' was a good picture when the training began"):
        folder[index]


def test_hidden_folders_are_left_out_and_replaced_pictures_noticed(pictures):
    before = open_folder(pictures, 16).facts()
    copies = pictures / "red" / ".checkpoints"
    copies.mkdir()
    one = next((pictures / "red").glob("*.png"))
    shutil.copy(one, copies / "copy.png")
    assert open_folder(pictures, 16).facts() == before
    Image.effect_noise((40, 40), 90).save(one)
    assert open_folder(pictures, 16).facts() != before


def test_a_class_whose_pictures_all_fail_is_refused(pictures):
    with pytest.raises(ValueError, match="None of the 3 pictures of the class folder '.*blue' can be.*smaller --size"):
        open_folder(pictures, 32)


def test_a_folder_without_classes_is_refused(tmp_path):
    save_picture(tmp_path / "loose.png")
    with pytest.raises(ValueError, match="has no sub-folders"):
        open_folder(tmp_path, 16)
    with pytest.raises(ValueError, match="There is no folder"):
        open_folder(tmp_path / "nowhere", 16)


def test_a_picture_is_a_picture_whatever_its_name_ends_in(pictures):
    for ending in (".jfif", ".jpe", ".JPG", ".webp", ".tiff", ".gif", ".ppm", ".jp2", ".data", ""):
        image = Image.new("RGB", (20, 16), (200, 0, 0))
        kind = {".webp": "WEBP", ".tiff": "TIFF", ".gif": "GIF", ".ppm": "PPM", ".jp2": "JPEG2000"}.get(ending, "JPEG")
        image.save(pictures / "red" / f"more{ending}", kind)
    folder = open_folder(pictures, 16)
    assert len(folder) == 6 + 10 and len(folder.left_out) == 0


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_an_avif_is_a_picture(pictures):
    Image.new("RGB", (20, 16), (200, 0, 0)).save(pictures / "red" / "new.avif")
    assert len(open_folder(pictures, 16)) == 7


def test_files_that_are_not_pictures_are_counted_and_named(pictures):
    for index in range(30):
        (pictures / "red" / f"caption-{index:02}.txt").write_text("a red square")
    save_picture(pictures / "loose.png")
    (pictures / "README").write_text("where these come from")
    folder = open_folder(pictures, 16)
    assert len(folder) == 6 and len(folder.left_out) == 32
    captions, loose = folder.left_out.lines()
    assert captions.startswith("left out 30 files that aren't pictures") and "caption-00.txt" in captions
    assert captions.endswith("and 10 more")
    assert loose.startswith("left out 2 files next to the class folders") and "README, loose.png" in loose


def test_a_class_of_other_files_alone_says_what_it_holds(pictures):
    (pictures / "green").mkdir()
    (pictures / "green" / "notes.txt").write_text("none yet")
    with pytest.raises(ValueError, match="green' holds no pictures that can be read, only 1 other files"):
        open_folder(pictures, 16)


def test_linked_folders_are_followed_once(pictures, tmp_path):
    more = tmp_path / "more"
    save_picture(more / "deep" / "one.png")
    (pictures / "red" / "linked").symlink_to(more, target_is_directory=True)
    (pictures / "green").symlink_to(more, target_is_directory=True)
    (more / "loop").symlink_to(more, target_is_directory=True)
    (pictures / "red" / "lost.png").symlink_to(tmp_path / "nowhere.png")
    folder = open_folder(pictures, 16)
    assert folder.classes == ("blue", "green", "red")
    assert [label for _, label in folder.files].count(2) == 4 and len(folder) == 8
    told = "\n".join(folder.left_out.lines())
    assert "lost.png: it can't be read" in told
    assert "left out 2 linked folders that were read already: loop, loop" in told


def test_reading_a_large_folder_tells_how_far_it_is(pictures, monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    open_folder(pictures, 16)
    assert "reading pictures: 6 of 6 files" in capsys.readouterr().err
