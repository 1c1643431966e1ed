"""`randar generate`."""

import json

import numpy as np
import pytest
from PIL import Image
from tiny_cli import pixels, run, save_mask

from randar_core.cli import generate as command
from randar_core.runtime.progress_lines import Progress
from randar_core.tasks.generate import generate


def test_generate_writes_a_png_a_picture_with_its_parameters(bundle, tmp_path):
    assert run("generate", "star", "1", "--count", 2, "--model", bundle, "--out", tmp_path, "--seed", 7) == 0
    files = sorted(path.name for path in tmp_path.glob("*.png"))
    assert files == ["00000_star.png", "00001_star.png", "00002_fish.png", "00003_fish.png"]
    picture = Image.open(tmp_path / files[3])
    assert picture.size == (8, 8)
    facts = json.loads(picture.text["parameters"])
    assert (facts["class_name"], facts["seed"], facts["picture"], facts["steps"]) == ("fish", 7, 3, 5)


@pytest.mark.parametrize(
    ("given", "guidance", "power"),
    [
        ((), [2.0], None),
        (("--guidance-power", 0), [2.0], 0.0),
        (("--guidance", 1, 3), [1.0, 3.0], None),
    ],
)
def test_a_picture_carries_the_guidance_it_was_drawn_with(bundle, tmp_path, given, guidance, power):
    run("generate", "star", "--model", bundle, "--out", tmp_path, *given)
    facts = json.loads(Image.open(tmp_path / "00000_star.png").text["parameters"])
    assert (facts["guidance"], facts["guidance_power"]) == (guidance, power)


def test_any_single_picture_of_a_run_can_be_drawn_again(bundle, tmp_path):
    common = ("--model", bundle, "--dtype", "float32")
    run("generate", "all", *common, "--out", tmp_path / "all", "--batch", 2)
    run("generate", "house", *common, "--out", tmp_path / "one", "--first", 2)
    assert (pixels(tmp_path / "all" / "00002_house.png") == pixels(tmp_path / "one" / "00002_house.png")).all()


def test_generate_can_write_one_contact_sheet(bundle, tmp_path):
    assert run("generate", "all", "--count", 2, "--sheet", "--model", bundle, "--out", tmp_path) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_a_size_within_a_cell_is_cut_from_whole_cells(bundle, tmp_path):
    words = ("generate", "fish", "--model", bundle, "--out")
    assert run(*words, tmp_path / "odd", "--width", 11, "--height", 7) == 0
    assert run(*words, tmp_path / "even", "--width", 12, "--height", 8) == 0
    odd, even = (pixels(tmp_path / name / "00000_fish.png") for name in ("odd", "even"))
    assert odd.shape == (7, 11, 3) and even.shape == (8, 12, 3)
    assert (odd == even[:7, :11]).all()


def test_a_panorama_is_as_wide_as_asked(bundle, tmp_path):
    assert run("generate", "fish", "--width", 24, "--model", bundle, "--out", tmp_path) == 0
    assert Image.open(tmp_path / "00000_fish.png").size == (24, 8)


def test_guidance_takes_a_start_or_a_power_but_not_both(bundle, tmp_path, capsys):
    common = ("generate", "fish", "--model", bundle, "--out", tmp_path, "--force")
    assert run(*common, "--guidance", 1, 3) == 0
    assert run(*common, "--guidance", 3, "--guidance-power", 2) == 0
    assert run(*common, "--guidance", 1, 3, "--guidance-power", 2) == 2
    assert "Give one of the two" in capsys.readouterr().err


def test_a_painted_order_is_followed_from_the_command_line(bundle, picture, tmp_path):
    painting = tmp_path / "painting.png"
    levels = np.tile(np.arange(4, dtype=np.uint8).repeat(2)[::-1] * 60, (8, 1))
    Image.fromarray(levels).save(painting)  # bright on the left: columns
    words = ("generate", "star", "--model", bundle, "--steps", 16)
    assert run(*words, "--out", tmp_path / "painted", "--painted-order", painting) == 0
    assert run(*words, "--out", tmp_path / "random") == 0
    painted, random = (Image.open(tmp_path / name / "00000_star.png") for name in ("painted", "random"))
    assert json.loads(painted.text["parameters"])["order"] == "painted"
    assert (np.asarray(painted) != np.asarray(random)).any()
    with pytest.raises(SystemExit):
        run(*words, "--painted-order", painting, "--order", "raster")


def test_a_class_alone_is_extrapolated(bundle, tmp_path, capsys):
    words = ("generate", "star", "--model", bundle, "--out", tmp_path)
    assert run(*words, "--factor", 2) == 0
    large = Image.open(tmp_path / "00000_star.png")
    assert large.size == (16, 16)
    assert json.loads(large.text["parameters"])["factor"] == 2
    assert run(*words, "--factor", 2, "--width", 16) == 2
    assert run(*words, "--factor", 2, "--guidance-power", 1) == 2
    errors = capsys.readouterr().err
    assert "leave out --width" in errors and "--guidance-power has no meaning" in errors


def test_extrapolation_has_one_guidance_throughout(bundle, tmp_path):
    """The low-resolution picture too, which else would be drawn on the model's own course."""

    def drawn(*words):
        assert run("generate", "star", "--factor", 2, "--model", bundle, "--out", tmp_path, "--force", *words) == 0
        return Image.open(tmp_path / "00000_star.png")

    unsaid, constant, line = drawn(), drawn("--guidance", 3, 3), drawn("--guidance", 1, 3)
    assert unsaid.tobytes() == constant.tobytes() != line.tobytes()
    assert json.loads(unsaid.text["parameters"])["guidance"] == [3.0]
    assert drawn("--guidance", 6).tobytes() == drawn("--guidance", 6, 6).tobytes() != constant.tobytes()


def drawn_with(bundle, tmp_path, *words) -> np.ndarray:
    """The one picture that a `generate` draws."""
    folder = tmp_path / "drawn"
    common = ("--model", bundle, "--dtype", "float32", "--guidance", 30, "--out", folder, "--force")
    assert run("generate", *words, *common) == 0
    (path,) = folder.iterdir()
    found = pixels(path).copy()
    path.unlink()
    return found


def test_a_blend_is_drawn_named_and_recorded(bundle, tmp_path):
    assert run("generate", "0.7*fish + 0.3*star", "--model", bundle, "--out", tmp_path) == 0
    (path,) = tmp_path.glob("*.png")
    facts = json.loads(Image.open(path).text["parameters"])
    assert facts["class_name"] == "0.3*star + 0.7*fish" and "class" not in facts
    assert path.name == "00000_0_3_star_0_7_fish.png"


def test_a_blend_of_one_class_is_that_class(bundle, tmp_path):
    fish = drawn_with(bundle, tmp_path, "fish")
    assert (drawn_with(bundle, tmp_path, "1*fish + 0*star") == fish).all()
    assert (drawn_with(bundle, tmp_path, "0.5*fish + 0.5*star") != fish).any()


def test_a_negative_class_changes_the_picture_and_is_recorded(bundle, tmp_path):
    plain = drawn_with(bundle, tmp_path, "fish")
    assert (drawn_with(bundle, tmp_path, "fish", "--negative", "star") != plain).any()
    run("generate", "fish", "--negative", "star", "--model", bundle, "--out", tmp_path / "kept")
    facts = json.loads(Image.open(tmp_path / "kept" / "00000_fish.png").text["parameters"])
    assert (facts["class"], facts["negative"]) == (1, "star")


def test_regions_lie_over_the_background_class(bundle, tmp_path):
    everywhere = save_mask(tmp_path / "all.png", (4, 4), np.s_[:])
    left = save_mask(tmp_path / "left.png", (9, 9), np.s_[:, :4])
    star = drawn_with(bundle, tmp_path, "star")
    assert (drawn_with(bundle, tmp_path, "fish", "--region", everywhere, "star") == star).all()
    assert (drawn_with(bundle, tmp_path, "--region", everywhere, "star") == star).all()
    mixed = drawn_with(bundle, tmp_path, "fish", "--region", left, "star", "--width", 24)
    assert mixed.shape == (8, 24, 3)


def test_a_region_that_marks_nothing_is_named(bundle, tmp_path, capsys):
    Image.new("L", (4, 4)).save(tmp_path / "empty.png")
    words = ("generate", "fish", "--region", tmp_path / "empty.png", "star", "--model", bundle, "--out", tmp_path)
    assert run(*words) == 2
    assert "empty.png' can't be a region. The region covers nothing" in capsys.readouterr().err


def test_a_sweep_morphs_with_the_random_numbers_of_its_first_picture(bundle, tmp_path):
    words = ("--model", bundle, "--dtype", "float32", "--guidance", 30, "--out")
    assert run("generate", "--sweep", "star", "fish", "--count", 3, *words, tmp_path / "sweep") == 0
    paths = sorted((tmp_path / "sweep").iterdir())
    assert [path.name for path in paths] == ["00000_star.png", "00001_0_5_star_0_5_fish.png", "00002_fish.png"]
    assert run("generate", "star", "fish", *words, tmp_path / "own") == 0
    assert (pixels(paths[0]) == pixels(tmp_path / "own" / "00000_star.png")).all()
    assert (pixels(paths[2]) == drawn_with(bundle, tmp_path, "fish")).all()
    assert (pixels(paths[2]) != pixels(tmp_path / "own" / "00001_fish.png")).any()
    assert json.loads(Image.open(paths[1]).text["parameters"])["sweep"] == ["star", "fish"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--sweep", "star", "fish", "house"), "--sweep names its two classes itself"),
        (("--sweep", "star", "fish", "--npz", "set.npz"), "A set has one class for each picture"),
        (("0.5*fish+0.5*star", "--npz", "set.npz"), "A set has one class for each picture"),
        (("x*fish",), "'x' isn't a weight"),
        (("-1*fish + 2*star",), "the weight -1 is below 0"),
        (("0*fish + 0*star",), "at least one must be above 0"),
        (("fish +",), "a class is missing"),
        ((",",), "names no class"),
    ],
)
def test_conditions_that_make_no_sense_are_refused(bundle, tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    given = [f" {word}" if word.startswith("-1") else word for word in words]
    assert run("generate", *given, "--model", bundle) == 2
    assert said in capsys.readouterr().err


def test_classes_may_be_all_in_any_case_or_end_in_a_comma(bundle, tmp_path):
    assert run("generate", "ALL", "--model", bundle, "--out", tmp_path / "all") == 0
    assert len(list((tmp_path / "all").iterdir())) == 3
    assert run("generate", "star, fish,", "--model", bundle, "--out", tmp_path / "two") == 0
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["00000_star.png", "00001_fish.png"]


def test_another_seed_does_not_replace_the_pictures_of_the_first(bundle, tmp_path, capsys):
    words = ("generate", "star", "fish", "--model", bundle, "--out", tmp_path, "--seed")
    assert run(*words, 1) == 0
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert run(*words, 2) == 2
    assert "2 of 2 pictures exist already" in (said := capsys.readouterr().err)
    assert "--resume" in said and "--force" in said
    assert run(*words, 2, "--resume") == 2
    assert "seed: 1 then, 2 now" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert run(*words, 2, "--force") == 0
    assert all(path.read_bytes() != content for path, content in before.items())


def test_a_resume_with_force_keeps_the_same_pictures_and_replaces_others(bundle, tmp_path):
    words = ("generate", "star", "--model", bundle, "--out", tmp_path)
    assert run(*words) == 0
    assert run(*words, "--seed", 1, "--first", 1) == 0
    star, other = (tmp_path / f"0000{index}_star.png" for index in range(2))
    before = star.read_bytes(), other.read_bytes()
    assert run(*words, "--count", 2, "--resume", "--force") == 0
    assert star.read_bytes() == before[0] and other.read_bytes() != before[1]


def test_a_picture_of_another_program_stays(bundle, tmp_path, capsys):
    Image.new("RGB", (8, 8)).save(tmp_path / "00000_star.png")
    before = (tmp_path / "00000_star.png").read_bytes()
    for more in ((), ("--resume",)):
        assert run("generate", "star", "--model", bundle, "--out", tmp_path, *more) == 2
    assert "drawn by another program" in capsys.readouterr().err
    assert (tmp_path / "00000_star.png").read_bytes() == before


def test_a_picture_that_another_run_writes_meanwhile_stays(bundle, tmp_path, monkeypatch, capsys):
    def first_of_two(*arguments, **more):
        save_mask(tmp_path / "00000_star.png", (8, 8), np.s_[:])
        return generate(*arguments, **more)

    monkeypatch.setattr(command, "generate", first_of_two)
    assert run("generate", "star", "--model", bundle, "--out", tmp_path) == 2
    assert "00000_star.png' was written meanwhile, by another run" in capsys.readouterr().err
    assert (pixels(tmp_path / "00000_star.png") == 255).all()


def test_a_second_sheet_does_not_replace_the_first(bundle, tmp_path, capsys):
    words = ("generate", "all", "--sheet", "--model", bundle, "--out", tmp_path)
    assert run(*words) == 0 and run(*words) == 2
    assert "sheet.png' exists already" in capsys.readouterr().err
    assert run(*words, "--force") == 0


def test_the_name_of_a_picture_is_not_made_a_folder(bundle, tmp_path, capsys):
    assert run("generate", "star", "--model", bundle, "--out", tmp_path / "star.png") == 2
    assert "--out names a folder here, and" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_pixels_are_cut_to_8_bits_where_the_authors_did_so(bundle, tmp_path):
    rounded, cut = drawn_with(bundle, tmp_path, "fish").astype(int), drawn_with(bundle, tmp_path, "fish", "--truncate")
    difference = rounded - cut
    assert set(np.unique(difference)) == {0, 1}


def test_a_panorama_says_what_it_costs_before_it_begins(bundle, tmp_path, capsys):
    words = ("generate", "fish", "--width", 24, "--count", 2, "--batch", 1, "--model", bundle, "--out", tmp_path)
    assert run(*words) == 0
    said = capsys.readouterr().out.splitlines()[0]
    assert said.startswith("Each of 2 pictures: 12×4 cells in ") and said.endswith("calls of the model, 2 batches.")


def test_a_log_gets_a_line_every_few_seconds_and_not_one_a_call(bundle, tmp_path, capsys):
    assert run("generate", "star", "--count", 6, "--batch", 1, "--steps", 16, "--model", bundle, "--out", tmp_path) == 0
    assert len(capsys.readouterr().err.splitlines()) <= 1


def test_a_blend_without_quotes_is_answered_with_them(bundle, tmp_path, capsys):
    words = ("0.5*star", "+", "0.5*fish", "--model", bundle, "--out", tmp_path)
    assert run("generate", *words) == 2
    assert 'in quotes: "0.5*star + 0.5*fish"' in capsys.readouterr().err


def test_an_interrupt_ends_a_run_within_one_call(bundle, tmp_path, monkeypatch, capsys):
    calls = []

    def interrupted(self, note):
        calls.append(note)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "say", interrupted)
    assert run("generate", "fish", "--width", 64, "--model", bundle, "--out", tmp_path) == 130
    assert len(calls) == 3 and list(tmp_path.iterdir()) == []
    assert "randar: stopped" in capsys.readouterr().err
