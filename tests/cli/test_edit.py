"""The commands from a picture to another one."""

import numpy as np
import pytest
import tiny
import tiny_devices
from PIL import Image
from tiny import NAMES
from tiny_cli import pixels, run, save_mask
from tiny_pictures import profile_with

from randar_core.checkpoints.bundle import save_bundle
from randar_core.checkpoints.model import load_model
from randar_core.checkpoints.releases import Defaults
from randar_core.cli import edit


@pytest.mark.parametrize("command", ["refine", "inpaint"])
def test_a_program_under_a_pictures_name_is_never_run(bundle, picture, tmp_path, capsys, command):
    """Pillow would hand it to Ghostscript."""
    program = tmp_path / "a.png"
    program.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n")
    pictures = (program,) if command == "refine" else (picture, program)
    assert run(command, *pictures, "star", "--model", bundle) == 2
    assert "a.png' is not a picture that can be read" in capsys.readouterr().err


def test_inpaint_keeps_every_pixel_outside_of_the_mask(bundle, picture, tmp_path):
    marked = save_mask(tmp_path / "mask.png", (8, 8), np.s_[2:4, 2:6])
    words = ("inpaint", picture, marked, "star", "--model", bundle, "--out", tmp_path / "b.png")
    assert run(*words, "--grow", 0) == 0
    kept = np.ones((8, 8), dtype=bool)
    kept[2:4, 2:6] = False
    assert (pixels(tmp_path / "b.png")[kept] == pixels(picture)[kept]).all()


def test_near_black_noise_in_a_mask_marks_nothing(bundle, tmp_path):
    """As in every JPEG."""
    chance = np.random.default_rng(0)
    Image.fromarray(chance.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    levels = chance.integers(0, 12, (32, 32), dtype=np.uint8)
    levels[8:24, 8:24] = 255
    Image.fromarray(levels).save(tmp_path / "mask.jpg")
    kept = np.ones((32, 32), dtype=bool)
    kept[8:24, 8:24] = False
    assert 0 < pixels(tmp_path / "mask.jpg")[kept].max() < 25
    words = ("inpaint", tmp_path / "a.png", tmp_path / "mask.jpg", "star", "--model", bundle)
    assert run(*words, "--grow", 0, "--seam", 0) == 0
    before, after = pixels(tmp_path / "a.png"), pixels(tmp_path / "a_inpaint.png")
    assert (after[kept] == before[kept]).all() and (after[~kept] != before[~kept]).any(1).mean() > 0.9


@pytest.mark.parametrize("size", [(8, 8), (64, 64)])
def test_a_mask_that_marks_nothing_leaves_the_picture_whatever_its_size(bundle, picture, tmp_path, capsys, size):
    Image.new("L", size, 25).save(tmp_path / "mask.png")
    out = tmp_path / "b.png"
    assert run("inpaint", picture, tmp_path / "mask.png", "star", "--model", bundle, "--out", out) == 0
    assert (pixels(out) == pixels(picture)).all()
    assert "marks nothing above 0.1" in capsys.readouterr().out


def test_a_mask_of_another_size_that_marks_something_is_refused(bundle, picture, tmp_path, capsys):
    marked = save_mask(tmp_path / "mask.png", (4, 4), np.s_[:2])
    assert run("inpaint", picture, marked, "star", "--model", bundle) == 2
    assert "The mask is 4×4, the picture is 8×8 pixels" in capsys.readouterr().err


def test_edits_do_what_the_nodes_do_where_nothing_is_said(bundle, tmp_path):
    Image.effect_noise((32, 32), 80).convert("RGB").save(tmp_path / "a.png")
    marked = save_mask(tmp_path / "mask.png", (32, 32), np.s_[12:20, 12:20])
    for command, given in (
        (("inpaint", tmp_path / "a.png", marked), ("--grow", 8)),
        (("refine", tmp_path / "a.png"), ("--share", 0.25)),
    ):
        unsaid, said = tmp_path / "unsaid.png", tmp_path / "said.png"
        assert run(*command, "star", "--model", bundle, "--out", unsaid, "--force") == 0
        assert run(*command, "star", "--model", bundle, "--out", said, "--force", *given) == 0
        assert (pixels(unsaid) == pixels(said)).all()


def test_outpaint_extends_and_keeps_the_picture(bundle, picture, tmp_path):
    assert run("outpaint", picture, "fish", "--left", 3, "--bottom", 5, "--model", bundle) == 0
    wide = pixels(tmp_path / "00000_fish_outpaint.png")
    assert wide.shape == (13, 11, 3)
    assert (wide[:8, 3:] == pixels(picture)).all()


def test_extrapolate_multiplies_the_size(bundle, picture, tmp_path):
    assert run("extrapolate", picture, "fish", "--model", bundle, "--out", tmp_path / "large.png") == 0
    assert Image.open(tmp_path / "large.png").size == (16, 16)


@pytest.mark.parametrize("size", [(8, 8), (11, 7), (1, 1)])
def test_refine_keeps_the_size(bundle, tmp_path, size):
    Image.effect_noise(size, 80).save(tmp_path / "any.png")
    assert run("refine", tmp_path / "any.png", "fish", "--rounds", 2, "--model", bundle) == 0
    assert Image.open(tmp_path / "any_refine.png").size == size


@pytest.mark.parametrize("size", [(11, 7), (3, 2)])
@pytest.mark.parametrize("nothing", [("--share", 0), ("--below", 0)])
def test_refining_nothing_leaves_the_picture(bundle, tmp_path, nothing, size):
    Image.effect_noise(size, 80).convert("RGB").save(tmp_path / "any.png")
    assert run("refine", tmp_path / "any.png", "fish", *nothing, "--model", bundle) == 0
    assert (pixels(tmp_path / "any_refine.png") == pixels(tmp_path / "any.png")).all()


def test_a_refined_picture_keeps_its_alpha(bundle, tmp_path):
    noise = [Image.effect_noise((11, 7), 80) for _ in range(4)]
    Image.merge("RGBA", noise).save(tmp_path / "any.png")
    assert run("refine", tmp_path / "any.png", "fish", "--share", 0.5, "--model", bundle) == 0
    assert (pixels(tmp_path / "any_refine.png")[:, :, 3] == pixels(tmp_path / "any.png")[:, :, 3]).all()


def test_sixteen_bits_of_grey_are_read_as_what_they_show(bundle, tmp_path):
    deep = np.linspace(0, 65535, 77).astype(np.uint16).reshape(7, 11)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert run("refine", tmp_path / "deep.png", "fish", "--share", 0, "--model", bundle) == 0
    assert (pixels(tmp_path / "deep_refine.png") == (deep / 257).round().astype(np.uint8)[:, :, None]).all()


@pytest.mark.parametrize("context", ["inf", "nan", "0.5"])
def test_a_context_below_the_mask_is_refused(bundle, tmp_path, capsys, context):
    for name in ("any.png", "mask.png"):
        Image.effect_noise((11, 7), 80).save(tmp_path / name)
    words = (tmp_path / "any.png", tmp_path / "mask.png", "fish", "--context", context, "--model", bundle)
    assert run("inpaint", *words) == 2
    assert "must be a number of 1 or more" in capsys.readouterr().err


def test_a_picture_of_another_size_is_refused_where_the_models_own_is_needed(bundle, tmp_path, capsys):
    Image.new("RGB", (10, 8)).save(tmp_path / "odd.png")
    assert run("extrapolate", tmp_path / "odd.png", "fish", "--model", bundle) == 2
    assert "10×8 pixels; the model's own size is 8×8" in capsys.readouterr().err


def test_extrapolating_takes_the_boundary_of_the_model(bundle, tmp_path):
    model = load_model(bundle)
    picture, own = tmp_path / "small.png", tmp_path / "own.safetensors"
    save_bundle(own, model.transformer, model.tokenizer, NAMES, Defaults(guidance=2.0, steps=5, boundary=0), "own")
    Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(picture)

    def drawn(path, *words):
        out = tmp_path / "large.png"
        assert run("extrapolate", picture, "star", "--model", path, "--out", out, "--force", *words) == 0
        return pixels(out)

    squeezed, usual = drawn(own), drawn(bundle)
    assert squeezed.shape == (16, 16, 3) and (squeezed != usual).any()
    assert (drawn(bundle, "--boundary", 0) == squeezed).all()
    assert (drawn(own, "--boundary", 2) == usual).all()


def test_confidence_is_scored_without_guidance_unless_asked(bundle, tmp_path, capsys):
    Image.effect_noise((8, 8), 80).save(tmp_path / "any.png")

    def judged(*words):
        assert run("confidence", tmp_path / "any.png", "fish", "--model", bundle, "--force", *words) == 0
        return capsys.readouterr().out

    assert judged() == judged("--guidance", 1, 1) != judged("--guidance", 6)
    for words in (("--steps", 5), ("--temperature", 1), ("--top-k", 3), ("--top-p", 1), ("--order", "raster")):
        with pytest.raises(SystemExit):
            judged(*words)


def test_confidence_is_shown_at_the_size_of_the_picture(bundle, tmp_path, capsys):
    Image.effect_noise((11, 7), 80).save(tmp_path / "any.png")
    assert run("confidence", tmp_path / "any.png", "fish", "--model", bundle) == 0
    assert Image.open(tmp_path / "any_confidence.png").size == (11, 7)
    assert "Mean probability of a token" in capsys.readouterr().out


def test_alpha_stays_in_edited_pictures(bundle, tmp_path):
    levels = np.full((8, 8, 4), 120, np.uint8)
    levels[:4, :, 3] = 7
    Image.fromarray(levels).save(tmp_path / "clear.png")
    Image.fromarray(np.full((8, 8), 255, np.uint8)).save(tmp_path / "mask.png")
    assert run("inpaint", tmp_path / "clear.png", tmp_path / "mask.png", "fish", "--model", bundle) == 0
    assert (pixels(tmp_path / "clear_inpaint.png")[..., 3] == levels[..., 3]).all()
    assert run("outpaint", tmp_path / "clear.png", "fish", "--right", 4, "--model", bundle) == 0
    wide = pixels(tmp_path / "clear_outpaint.png")
    assert wide.shape == (8, 12, 4) and (wide[:, :8] == levels).all()


def test_an_edit_takes_one_class(bundle, picture, capsys):
    assert run("refine", picture, "star,fish", "--model", bundle) == 2
    assert "star,fish" in capsys.readouterr().err


def test_a_soft_mask_counts_above_the_threshold_and_keeps_its_softness(bundle, tmp_path):
    """Segmenters leave thousandths in the background."""
    Image.effect_noise((32, 32), 80).convert("RGB").save(tmp_path / "a.png")
    levels = np.full((32, 32), 1, dtype=np.uint8)
    levels[8:24, 8:24] = 77
    Image.fromarray(levels).save(tmp_path / "soft.png")
    marked = levels > 1
    words = ("inpaint", tmp_path / "a.png", tmp_path / "soft.png", "star", "--model", bundle, "--grow", 0, "--seam", 0)
    assert run(*words, "--out", tmp_path / "soft_out.png") == 0
    before, after = pixels(tmp_path / "a.png").astype(int), pixels(tmp_path / "soft_out.png").astype(int)
    assert (before[~marked] == after[~marked]).all() and (before[marked] != after[marked]).any()
    levels[marked] = 255
    Image.fromarray(levels).save(tmp_path / "hard.png")
    hard = ("inpaint", tmp_path / "a.png", tmp_path / "hard.png", *words[3:])
    assert run(*hard, "--out", tmp_path / "hard_out.png") == 0
    opaque = pixels(tmp_path / "hard_out.png").astype(int)
    expected = before + (opaque - before) * 77 / 255
    assert np.abs(after - expected)[marked].max() <= 1
    assert run(*words, "--threshold", 0.5, "--out", tmp_path / "none.png") == 0
    assert (pixels(tmp_path / "none.png") == before).all()


def test_a_transparent_hole_is_read_as_the_options_say_and_told_of(bundle, tmp_path, capsys):
    Image.effect_noise((32, 32), 80).convert("RGB").save(tmp_path / "a.png")
    levels = np.full((32, 32, 4), 255, dtype=np.uint8)
    levels[8:24, 8:24, 3] = 0
    Image.fromarray(levels).save(tmp_path / "hole.png")
    hole = levels[..., 3] == 0
    words = ("inpaint", tmp_path / "a.png", tmp_path / "hole.png", "star", "--model", bundle, "--grow", 0, "--seam", 0)
    assert run(*words, "--out", tmp_path / "bright.png") == 0
    assert "has transparent pixels" in (said := capsys.readouterr().out) and "--mask-from alpha" in said
    assert run(*words, "--mask-from", "alpha", "--out", tmp_path / "alpha.png") == 0
    before = pixels(tmp_path / "a.png")
    bright, alpha = (pixels(tmp_path / f"{name}.png") for name in ("bright", "alpha"))
    assert (bright[hole] == before[hole]).all() and (bright[~hole] != before[~hole]).any()
    assert (alpha[~hole] == before[~hole]).all() and (alpha[hole] != before[hole]).any()


def test_a_mask_without_transparent_pixels_is_no_mask_by_alpha(bundle, picture, tmp_path, capsys):
    marked = save_mask(tmp_path / "mask.png", (8, 8), np.s_[2:4])
    assert run("inpaint", picture, marked, "star", "--model", bundle, "--mask-from", "alpha") == 2
    assert "mask.png' has no transparent pixels" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["inpaint", "refine", "confidence"])
def test_a_second_edit_replaces_the_first_only_by_force(bundle, picture, tmp_path, capsys, command):
    marked = [save_mask(tmp_path / "mask.png", (8, 8), np.s_[2:4])] if command == "inpaint" else []
    words = (command, picture, *marked, "star", "--model", bundle, "--seed")
    out = picture.with_name(f"00000_fish_{command}.png")
    assert run(*words, 1) == 0
    first = out.read_bytes()
    assert run(*words, 2) == 2
    assert f"{out.name}' exists already. Name another file with --out, or add --force" in capsys.readouterr().err
    assert out.read_bytes() == first
    assert run(*words, 2, "--force") == 0
    assert out.read_bytes() != first


def test_the_picture_itself_stays_when_it_is_named_as_the_result(bundle, picture, capsys):
    before = picture.read_bytes()
    assert run("refine", picture, "star", "--model", bundle, "--out", picture) == 2
    assert picture.read_bytes() == before


def test_an_edit_follows_blends_regions_and_a_negative_class(bundle, tmp_path):
    Image.effect_noise((16, 16), 80).convert("RGB").save(tmp_path / "a.png")
    right = save_mask(tmp_path / "right.png", (4, 4), np.s_[:, 2:])

    def drawn(condition, *words):
        out = tmp_path / "out.png"
        common = ("--model", bundle, "--share", 1, "--guidance", 30, "--dtype", "float32", "--out", out, "--force")
        assert run("refine", tmp_path / "a.png", condition, *common, *words) == 0
        return pixels(out)

    plain = drawn("star")
    assert (drawn("1*star + 0*fish") == plain).all()
    assert (drawn("star", "--negative", "fish") != plain).any()
    assert (drawn("0.5*star + 0.5*fish") != plain).any()
    assert (drawn("star", "--region", right, "fish") != plain).any()
    assert (drawn("star", "--region", right, "star") == plain).all()


def test_a_long_edit_says_what_it_costs_before_it_begins(bundle, picture, capsys):
    assert run("outpaint", picture, "fish", "--right", 24, "--model", bundle) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("16×4 cells in 12 windows, ") and said[0].endswith(" calls of the model.")
    assert run("refine", picture.with_name("00000_fish_outpaint.png"), "fish", "--rounds", 2, "--model", bundle) == 0
    assert "in each of 2 rounds, after scoring 4 windows" in capsys.readouterr().out


@pytest.fixture
def calls_made(monkeypatch):
    """The calls of the model that the last edit made."""
    made, show = [], edit.Progress.show

    def counted(self, done, of, unit):
        made[:] = [done]
        show(self, done, of, unit)

    monkeypatch.setattr(edit.Progress, "show", counted)
    return made


def test_an_edit_of_several_crops_says_what_it_costs(bundle, picture, calls_made, capsys):
    assert run("outpaint", picture, "fish", "--right", 24, "--model", bundle) == 0
    wide = picture.with_name("00000_fish_outpaint.png")
    save_mask(wide.with_name("ends.png"), (8, 32), np.s_[2:4, [0, 1, 28, 29, 30, 31]])
    words = ("inpaint", wide, wide.with_name("ends.png"), "fish", "--grow", 0, "--model", bundle, "--force")
    capsys.readouterr()
    assert run(*words) == 0
    assert f"2 crops of 4×4 cells, {calls_made[0]} calls of the model at most." in capsys.readouterr().out
    assert run(*words, "--denoise", 0) == 0
    assert "calls" not in capsys.readouterr().out
    assert run(*words, "--denoise", 2) != 0
    assert "calls" not in capsys.readouterr().out


def test_a_long_extrapolation_says_what_it_costs(bundle, picture, calls_made, capsys):
    assert run("extrapolate", picture, "fish", "--factor", 5, "--steps", 384, "--model", bundle) == 0
    assert f"20×20 cells in 1 window, {calls_made[0]} calls of the model." in capsys.readouterr().out


@pytest.mark.parametrize("command", ["extrapolate", "generate"])
@pytest.mark.parametrize(
    ("words", "said"),
    [(("--factor", 0), "The factor is 0"), (("--factor", 9, "--drop-ratio", 2), "The drop ratio is 2")],
)
@pytest.mark.parametrize("family", ["randar", "arpg", "lpd"])
def test_an_extrapolation_that_is_refused_has_no_cost(tmp_path, picture, capsys, command, words, said, family):
    networks = {"randar": tiny.randar, "arpg": tiny_devices.arpg, "lpd": tiny_devices.lpd}
    save_bundle(tmp_path / "m.safetensors", networks[family](), tiny.tokenizer(), NAMES, Defaults(), "m")
    target = ("star", "--out", tmp_path / "o") if command == "generate" else (picture, "star")
    capsys.readouterr()
    assert run(command, *target, "--model", tmp_path / "m.safetensors", "--steps", 900, *words) == 2
    found = capsys.readouterr()
    assert said in found.err and "calls of the model" not in found.out


@pytest.mark.parametrize("command", ["inpaint", "refine", "outpaint"])
def test_an_edited_picture_keeps_its_colour_profile_and_the_values_of_untouched_pixels(bundle, tmp_path, command):
    """A profile that exchanges red and green, so that taking it for sRGB would show."""
    values = np.random.default_rng(0).integers(30, 220, (8, 8, 3), dtype=np.uint8)
    profile = profile_with(b"gXYZ", b"rXYZ")
    Image.fromarray(values).save(tmp_path / "photo.png", icc_profile=profile)
    save_mask(tmp_path / "mask.png", (8, 8), np.s_[:4, :4])
    words = {
        "inpaint": (tmp_path / "mask.png", "fish", "--grow", 0, "--seam", 0),
        "refine": ("fish", "--share", 0),
        "outpaint": ("fish", "--left", 3),
    }[command]
    assert run(command, tmp_path / "photo.png", *words, "--model", bundle) == 0
    with Image.open(tmp_path / f"photo_{command}.png") as written:
        assert written.info["icc_profile"] == profile
        found = np.asarray(written)
    if command == "inpaint":
        assert (found[4:] == values[4:]).all() and not (found[:4, :4] == values[:4, :4]).all()
    elif command == "refine":
        assert (found == values).all()
    else:
        assert (found[:, 3:] == values).all()
