"""The command line, as a user meets it: what it writes and what it says."""

import io
import json
import os
import subprocess
import sys

import numpy
import pytest
import torch
from PIL import Image

from randar_core.checkpoints.bundle import save_bundle
from randar_core.checkpoints.model import load_model
from randar_core.checkpoints.releases import Defaults
from randar_core.cli import main
from randar_core.models.llamagen import LlamaGenConfig, LlamaGenTokenizer
from randar_core.models.randar import RandAR, RandARConfig

NAMES = ("star", "fish", "house")


def randomise(*modules: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in modules:
            for parameter in module.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    decoder = RandAR(RandARConfig(width=32, layers=1, heads=2, codebook_size=16, classes=3, grid=4))
    tokenizer = LlamaGenTokenizer(
        LlamaGenConfig(
            channels=8, multipliers=(1, 1), res_blocks=1, codebook_size=16, codebook_dim=4, z_channels=8, norm_groups=4
        )
    )
    randomise(decoder, tokenizer)
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    save_bundle(path, decoder, tokenizer, NAMES, Defaults(guidance=2.0, steps=5), "tiny")
    return str(path)


@pytest.fixture(scope="module")
def one_class(bundle, tmp_path_factory):
    """A model that draws a single class."""
    path, tokenizer = tmp_path_factory.mktemp("models") / "one.safetensors", load_model(bundle).tokenizer
    decoder = RandAR(RandARConfig(width=32, layers=1, heads=2, codebook_size=16, classes=1, grid=4))
    randomise(decoder)
    save_bundle(path, decoder, tokenizer, NAMES[:1], Defaults(guidance=2.0, steps=5), "one")
    return str(path)


def run(*words) -> int:
    return main([str(word) for word in words])


def pixels(path):
    return numpy.asarray(Image.open(path))


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


def test_output_in_a_code_page_that_lacks_a_letter_still_comes(bundle, monkeypatch, tmp_path):
    Image.new("RGB", (4, 6)).save(tmp_path / "a.png")
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="cp1251")
    monkeypatch.setattr(sys, "stdout", narrow)
    assert run("encode", tmp_path / "a.png", "--model", bundle) == 0
    narrow.flush()
    assert b"3 ? 2 ids" in narrow.buffer.getvalue()


def test_any_single_picture_of_a_run_can_be_drawn_again(bundle, tmp_path):
    common = ("--model", bundle, "--dtype", "float32")
    run("generate", "all", *common, "--out", tmp_path / "all", "--batch", 2)
    run("generate", "house", *common, "--out", tmp_path / "one", "--first", 2)
    assert (pixels(tmp_path / "all" / "00002_house.png") == pixels(tmp_path / "one" / "00002_house.png")).all()


def test_generate_can_write_one_contact_sheet(bundle, tmp_path):
    assert run("generate", "all", "--count", 2, "--sheet", "--model", bundle, "--out", tmp_path) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_encode_and_decode_are_inverse_on_decoded_pictures(bundle, tmp_path):
    Image.fromarray(numpy.random.default_rng(0).integers(0, 255, (6, 10, 3), dtype=numpy.uint8)).save(
        tmp_path / "a.png"
    )
    assert run("encode", tmp_path / "a.png", "--model", bundle) == 0
    found = json.loads((tmp_path / "a.json").read_text())
    assert numpy.array(found["ids"]).shape == (3, 5)
    assert run("decode", tmp_path / "a.json", "--model", bundle, "--out", tmp_path / "b.png") == 0
    assert Image.open(tmp_path / "b.png").size == (10, 6)


def test_info_says_what_a_file_is(bundle, capsys):
    assert run("info", bundle) == 0
    said = capsys.readouterr().out
    assert "transformer: randar" in said and "tokenizer: llamagen" in said and "star, fish, house" in said
    assert "every key and shape is as expected" in said


def test_convert_writes_a_bundle_in_another_dtype(bundle, tmp_path, capsys):
    out = tmp_path / "half.safetensors"
    assert run("convert", bundle, out, "--dtype", "bfloat16") == 0
    run("info", out)
    assert "weights in torch.bfloat16" in capsys.readouterr().out
    assert run("convert", bundle, out) == 2
    assert "is there already" in capsys.readouterr().err


def test_download_without_a_name_lists_the_releases(capsys):
    assert run("download") == 0
    assert "randar-xl-llamagen" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("generate", "stra"), "Did you mean star"),
        (("generate", "3"), "There is no class 3: this model has the classes 0 to 2"),
        (("generate", "star", "--steps", "0"), "at least 1"),
        (("generate", "star", "--temperature", "0"), "temperature is 0"),
        (("generate", "star", "--count", "0"), "--count is 0"),
        (("generate", "star", "--width", "0"), "--width is 0 pixels; it must be at least 1"),
        (("generate", "star", "--guidance", "nan"), "both must be finite"),
        (("generate", "star", "--guidance-power", "-1"), "power of guidance is -1.0"),
        (("generate", "star", "--guidance", "1", "2", "3"), "one or two numbers"),
        (("generate", "star", "--device", "nonsense"), "The device 'nonsense'"),
        (("generate", "star", "--out", __file__), "Nothing can be written"),
        (("generate", "star", "--model", "gone.safetensors"), "There is no file 'gone.safetensors'"),
        (("generate", "star", "--model", "randar-x"), "Did you mean"),
        (("encode", "gone.png"), "There is no file 'gone.png'"),
        (("encode", __file__), "is no picture"),
        (("decode", __file__), "is no file of `randar encode`"),
        (("decode", __file__, "--out", "a.jpg"), "'a.jpg' doesn't end in .png"),
    ],
)
def test_a_mistake_gets_one_clear_message(bundle, tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    given = [*words] if "--model" in words else [*words, "--model", bundle]
    assert run(*given) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("randar: ") and said in message


def test_ids_of_another_codebook_are_refused(bundle, tmp_path, capsys):
    (tmp_path / "ids.json").write_text(json.dumps({"codebook_size": 99, "ids": [[1, 2], [3, 4]]}))
    assert run("decode", tmp_path / "ids.json", "--model", bundle) == 2
    assert "a codebook of 99" in capsys.readouterr().err


@pytest.fixture
def picture(bundle, tmp_path):
    run("generate", "fish", "--model", bundle, "--out", tmp_path)
    return tmp_path / "00000_fish.png"


def mask(path, size, box):
    marked = numpy.zeros(size, dtype=numpy.uint8)
    marked[box] = 255
    Image.fromarray(marked).save(path)
    return path


@pytest.mark.parametrize("command", ["refine", "inpaint"])
def test_a_program_under_a_pictures_name_is_never_run(bundle, picture, tmp_path, capsys, command):
    """Pillow would hand it to Ghostscript."""
    program = tmp_path / "a.png"
    program.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n")
    pictures = (program,) if command == "refine" else (picture, program)
    assert run(command, *pictures, "star", "--model", bundle) == 2
    assert "a.png' is no picture that can be read" in capsys.readouterr().err


def test_inpaint_keeps_every_pixel_outside_of_the_mask(bundle, picture, tmp_path):
    marked = mask(tmp_path / "mask.png", (8, 8), numpy.s_[2:4, 2:6])
    words = ("inpaint", picture, marked, "star", "--model", bundle, "--out", tmp_path / "b.png")
    assert run(*words, "--grow", 0) == 0
    kept = numpy.ones((8, 8), dtype=bool)
    kept[2:4, 2:6] = False
    assert (pixels(tmp_path / "b.png")[kept] == pixels(picture)[kept]).all()


def test_near_black_noise_in_a_mask_marks_nothing(bundle, tmp_path):
    """As in every JPEG."""
    chance = numpy.random.default_rng(0)
    Image.fromarray(chance.integers(0, 256, (32, 32, 3), dtype=numpy.uint8)).save(tmp_path / "a.png")
    levels = chance.integers(0, 40, (32, 32), dtype=numpy.uint8)
    levels[8:24, 8:24] = 255
    Image.fromarray(levels).save(tmp_path / "mask.jpg")
    kept = numpy.ones((32, 32), dtype=bool)
    kept[8:24, 8:24] = False
    assert (pixels(tmp_path / "mask.jpg")[kept] > 0).any()
    words = ("inpaint", tmp_path / "a.png", tmp_path / "mask.jpg", "star", "--model", bundle)
    assert run(*words, "--grow", 0, "--seam", 0) == 0
    before, after = pixels(tmp_path / "a.png"), pixels(tmp_path / "a_inpaint.png")
    assert (after[kept] == before[kept]).all() and (after[~kept] != before[~kept]).any(1).mean() > 0.9


@pytest.mark.parametrize("size", [(8, 8), (64, 64)])
def test_a_mask_that_marks_nothing_leaves_the_picture_whatever_its_size(bundle, picture, tmp_path, capsys, size):
    Image.new("L", size, 127).save(tmp_path / "mask.png")
    out = tmp_path / "b.png"
    assert run("inpaint", picture, tmp_path / "mask.png", "star", "--model", bundle, "--out", out) == 0
    assert (pixels(out) == pixels(picture)).all()
    assert "marks nothing in white" in capsys.readouterr().out


def test_a_mask_of_another_size_that_marks_something_is_refused(bundle, picture, tmp_path, capsys):
    marked = mask(tmp_path / "mask.png", (4, 4), numpy.s_[:2])
    assert run("inpaint", picture, marked, "star", "--model", bundle) == 2
    assert "The mask is 4×4, the picture is 8×8 pixels" in capsys.readouterr().err


def test_edits_do_what_the_nodes_do_where_nothing_is_said(bundle, tmp_path):
    Image.effect_noise((32, 32), 80).convert("RGB").save(tmp_path / "a.png")
    marked = mask(tmp_path / "mask.png", (32, 32), numpy.s_[12:20, 12:20])
    for command, given in (
        (("inpaint", tmp_path / "a.png", marked), ("--grow", 8)),
        (("refine", tmp_path / "a.png"), ("--share", 0.25)),
    ):
        unsaid, said = tmp_path / "unsaid.png", tmp_path / "said.png"
        assert run(*command, "star", "--model", bundle, "--out", unsaid) == 0
        assert run(*command, "star", "--model", bundle, "--out", said, *given) == 0
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
    deep = numpy.linspace(0, 65535, 77).astype(numpy.uint16).reshape(7, 11)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert run("refine", tmp_path / "deep.png", "fish", "--share", 0, "--model", bundle) == 0
    assert (pixels(tmp_path / "deep_refine.png") == (deep / 257).round().astype(numpy.uint8)[:, :, None]).all()


@pytest.mark.parametrize("context", ["inf", "nan", "0.5"])
def test_a_context_that_is_none_is_refused(bundle, tmp_path, capsys, context):
    for name in ("any.png", "mask.png"):
        Image.effect_noise((11, 7), 80).save(tmp_path / name)
    words = (tmp_path / "any.png", tmp_path / "mask.png", "fish", "--context", context, "--model", bundle)
    assert run("inpaint", *words) == 2
    assert "must be a number from 1 on" in capsys.readouterr().err


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


def test_a_picture_of_another_size_is_refused_where_the_models_own_is_needed(bundle, tmp_path, capsys):
    Image.new("RGB", (10, 8)).save(tmp_path / "odd.png")
    assert run("extrapolate", tmp_path / "odd.png", "fish", "--model", bundle) == 2
    assert "10×8 pixels; the model's own size is 8×8" in capsys.readouterr().err


def test_guidance_takes_a_start_or_a_power_but_not_both(bundle, tmp_path, capsys):
    common = ("generate", "fish", "--model", bundle, "--out", tmp_path)
    assert run(*common, "--guidance", 1, 3) == 0
    assert run(*common, "--guidance", 3, "--guidance-power", 2) == 0
    assert run(*common, "--guidance", 1, 3, "--guidance-power", 2) == 2
    assert "Give one of the two" in capsys.readouterr().err


@pytest.mark.parametrize("model", ["bundle", "one_class"])
def test_demo_draws_one_sheet_a_task(model, request, tmp_path):
    assert run("demo", "--model", request.getfixturevalue(model), "--out", tmp_path) == 0
    names = {path.stem for path in tmp_path.glob("*.png")}
    assert names >= {"classes", "filling_in", "inpaint", "class_edit", "outpaint", "panorama", "refine", "extrapolate"}


def test_the_demo_shows_every_step_of_a_picture_that_fills_in(bundle, tmp_path):
    assert run("demo", "--model", bundle, "--out", tmp_path, "--steps", 16) == 0
    sheet, gap, side, columns, steps = pixels(tmp_path / "filling_in.png"), 4, 8, 4, 16
    assert sheet.shape == (gap + 4 * (side + gap), gap + columns * (side + gap), 3)
    for step in range(steps):
        top, left = (gap + place * (side + gap) for place in divmod(step, columns))
        still_grey = (sheet[top : top + side, left : left + side] == round(0.9 * 255)).all(2)
        assert still_grey.sum() == side**2 * (steps - 1 - step) / steps


def test_extrapolating_shapes_the_places_as_suits_the_model(bundle, tmp_path):
    model = load_model(bundle)
    picture, own = tmp_path / "small.png", tmp_path / "own.safetensors"
    save_bundle(own, model.transformer, model.tokenizer, NAMES, Defaults(guidance=2.0, steps=5, boundary=0), "own")
    Image.fromarray(numpy.full((8, 8, 3), 90, numpy.uint8)).save(picture)

    def drawn(path, *words):
        out = tmp_path / "large.png"
        assert run("extrapolate", picture, "star", "--model", path, "--out", out, *words) == 0
        return pixels(out)

    squeezed, usual = drawn(own), drawn(bundle)
    assert squeezed.shape == (16, 16, 3) and (squeezed != usual).any()
    assert (drawn(bundle, "--boundary", 0) == squeezed).all()
    assert (drawn(own, "--boundary", 2) == usual).all()


def test_a_painted_order_is_followed_from_the_command_line(bundle, picture, tmp_path):
    painting = tmp_path / "painting.png"
    levels = numpy.tile(numpy.arange(4, dtype=numpy.uint8).repeat(2)[::-1] * 60, (8, 1))
    Image.fromarray(levels).save(painting)  # bright on the left: columns
    words = ("generate", "star", "--model", bundle, "--steps", 16)
    assert run(*words, "--out", tmp_path / "painted", "--painted-order", painting) == 0
    assert run(*words, "--out", tmp_path / "random") == 0
    painted, random = (Image.open(tmp_path / name / "00000_star.png") for name in ("painted", "random"))
    assert json.loads(painted.text["parameters"])["order"] == "painted"
    assert (numpy.asarray(painted) != numpy.asarray(random)).any()
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
        assert run("generate", "star", "--factor", 2, "--model", bundle, "--out", tmp_path, *words) == 0
        return Image.open(tmp_path / "00000_star.png")

    unsaid, constant, line = drawn(), drawn("--guidance", 3, 3), drawn("--guidance", 1, 3)
    assert unsaid.tobytes() == constant.tobytes() != line.tobytes()
    assert json.loads(unsaid.text["parameters"])["guidance"] == [3.0]
    assert drawn("--guidance", 6).tobytes() == drawn("--guidance", 6, 6).tobytes() != constant.tobytes()


def test_confidence_judges_without_guidance_unless_asked(bundle, tmp_path, capsys):
    Image.effect_noise((8, 8), 80).save(tmp_path / "any.png")

    def judged(*words):
        assert run("confidence", tmp_path / "any.png", "fish", "--model", bundle, *words) == 0
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
    levels = numpy.full((8, 8, 4), 120, numpy.uint8)
    levels[:4, :, 3] = 7
    Image.fromarray(levels).save(tmp_path / "clear.png")
    Image.fromarray(numpy.full((8, 8), 255, numpy.uint8)).save(tmp_path / "mask.png")
    assert run("inpaint", tmp_path / "clear.png", tmp_path / "mask.png", "fish", "--model", bundle) == 0
    assert (pixels(tmp_path / "clear_inpaint.png")[..., 3] == levels[..., 3]).all()
    assert run("outpaint", tmp_path / "clear.png", "fish", "--right", 4, "--model", bundle) == 0
    wide = pixels(tmp_path / "clear_outpaint.png")
    assert wide.shape == (8, 12, 4) and (wide[:, :8] == levels).all()


def test_an_edit_takes_one_class(bundle, picture, capsys):
    assert run("refine", picture, "star,fish", "--model", bundle) == 2
    assert "star,fish" in capsys.readouterr().err


ASKS = """
import os, sys
class Watch:
    def find_spec(self, name, *_):
        if name == "torch":
            print("torch finds", os.environ.get("THP_MEM_ALLOC_ENABLE"))
sys.meta_path.insert(0, Watch())
from randar_core.cli import main
main(["generate", "--help"])
"""


@pytest.mark.parametrize(("given", "found"), [(None, "1"), ("0", "0")])
def test_large_pages_are_asked_for_before_torch_is_imported(given, found):
    environment = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    environment |= {} if given is None else {"THP_MEM_ALLOC_ENABLE": given}
    done = subprocess.run([sys.executable, "-c", ASKS], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == f"torch finds {found}"
