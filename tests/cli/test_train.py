"""The commands that train, as a user meets them."""

import itertools
import shutil
from types import SimpleNamespace

import pytest
import torch
from tiny_cli import randar
from tiny_pictures import save_picture
from tiny_trainings import SHORT, SMALL, losses

from randar_core.checkpoints.model import load_model
from randar_core.cli import train as command
from randar_core.io.run_lock import RunLock
from randar_core.procedural.landscape.pictures import Landscapes
from randar_core.procedural.render import Pictures
from randar_core.procedural.scene import PORTRAIT
from randar_core.training import run_state
from randar_core.training import train as trainings
from randar_core.training.folder import open_folder
from randar_core.training.optimizers import OPTIMIZERS
from randar_core.training.transformer import TRAINABLE

NOT_GIVEN = dict.fromkeys(("count", "turn", "extent", "one_way", "views", "foreign_scenes"))
"""What the options of drawn sets are without them."""


def test_the_command_offers_every_optimizer(capsys):
    with pytest.raises(SystemExit):
        randar("train", "procedural", "--tokenizer", "t", "--optimizer", "sgd")
    said = capsys.readouterr().err
    assert all(name in said for name in OPTIMIZERS)


def test_from_a_folder_to_a_model_that_loads(pictures, tmp_path, capsys):
    shutil.rmtree(pictures / "red")
    short = ("--steps", 3, "--batch", 2, "--save-every", 2, "--sample-every", 3, "--device", "cpu", "--size", 16)
    randar("train-tokenizer", pictures, "--out", tmp_path / "t", *short, *SMALL)
    tiny = ("--width", 16, "--layers", 1, "--heads", 2, "--sheet-steps", 3, "--optimizer", "muon", "--first-cells", 5)
    tokenizer = tmp_path / "t" / trainings.TOKENIZER_FILE
    randar("train", pictures, "--tokenizer", tokenizer, "--out", tmp_path / "d", *short, *tiny)
    assert "one class only" in capsys.readouterr().out
    model = load_model(tmp_path / "d" / trainings.MODEL_FILE)
    assert model.class_names == ("blue",) and model.transformer.config.grid == 8
    assert (tmp_path / "d" / "samples-000003.png").exists() and len(losses(tmp_path / "d")) == 1


@pytest.mark.parametrize(("family", "order", "steps"), [("arpg", "random", 64), ("lpd", "proximity", 20)])
def test_other_families_learn_and_draw_as_their_authors_do(pictures, tmp_path, family, order, steps):
    short = ("--steps", 2, "--batch", 2, "--sample-every", 2, "--device", "cpu", "--size", 8)
    randar("train-tokenizer", pictures, "--out", tmp_path / "t", *short, *SMALL)
    how = ("--optimizer", "muon", "--first-cells", 5)
    learn = ("train", pictures, "--tokenizer", tmp_path / "t" / trainings.TOKENIZER_FILE, *short, *how)
    new = ("--family", family, "--width", 16, "--layers", 2, "--heads", 2)
    randar(*learn, *new, "--out", tmp_path / family)
    model = load_model(tmp_path / family / trainings.MODEL_FILE)
    assert type(model.transformer) is TRAINABLE[family].network
    assert (model.defaults.order, model.defaults.steps) == (order, steps)
    assert (tmp_path / family / "samples-000002.png").exists()
    with pytest.raises(ValueError, match="begun with other settings.*family: "):
        randar(*learn, *new, "--family", "randar", "--out", tmp_path / family, "--resume")
    start = ("--start-from", tmp_path / family / trainings.MODEL_FILE)
    randar(*learn, *start, "--layers", 4, "--out", tmp_path / "grown")
    grown = load_model(tmp_path / "grown" / trainings.MODEL_FILE).transformer
    assert type(grown) is TRAINABLE[family].network and grown.config.layers == 4
    with pytest.raises(ValueError, match=f"of the family {family}, not randar: leave --family out"):
        randar(*learn, *start, "--family", "randar", "--out", tmp_path / "other")
    if family == "arpg":
        with pytest.raises(ValueError, match="Take an even number"):
            randar(*learn, *start, "--layers", 3, "--out", tmp_path / "odd")


def test_rank_0_reads_the_folder_for_all(pictures, monkeypatch, capsys):
    found = open_folder(pictures, 16)
    heard = [found, None]
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(
        torch.distributed, "broadcast_object_list", lambda answer: answer.__setitem__(slice(None), heard)
    )
    monkeypatch.setattr("randar_core.training.folder.check_picture", None)  # nothing is read
    arguments = SimpleNamespace(pictures=str(pictures), size=16, **NOT_GIVEN)
    assert command.pictures_of(arguments).pictures == found
    assert capsys.readouterr().out == ""
    heard[:] = None, ValueError("The class folder 'green' holds no pictures.")
    with pytest.raises(ValueError, match="green"):
        command.pictures_of(arguments)


def test_what_is_left_out_is_named_and_counted_before_a_training(pictures, tmp_path, capsys):
    (pictures / "red" / "noise.png").write_bytes(b"no picture")
    save_picture(pictures / "blue" / "small.png", 15, 40)
    command.pictures_of(SimpleNamespace(pictures=str(pictures), size=16, **NOT_GIVEN))
    said = capsys.readouterr().out
    assert "6 pictures in 2 classes: blue, red" in said and "Left out in all: 2." in said
    assert "noise.png: it isn't a picture" in said and "small.png: it has 15×40 pixels" in said


@pytest.mark.parametrize(
    ("option", "value"),
    [("first-cells", -1), ("batch", 0), ("save-every", 0), ("size", 0), ("warmup", -1), ("class-dropout", 5)],
)
def test_numbers_that_make_no_sense_are_refused(option, value, pictures, tmp_path, capsys):
    with pytest.raises(SystemExit):
        randar("train", pictures, "--tokenizer", "t", "--out", tmp_path / "d", f"--{option}", value)
    assert f"--{option}: it must be " in capsys.readouterr().err


@pytest.mark.parametrize(("value", "said"), [("fish", "isn't of the form CLASS=N"), ("fish=0", "at least 1")])
def test_a_number_of_times_that_makes_no_sense_is_refused(value, said, pictures, tmp_path, capsys):
    with pytest.raises(SystemExit):
        randar("train", pictures, "--tokenizer", "t", "--out", tmp_path / "d", "--oversample", value)
    assert said in capsys.readouterr().err


def test_options_that_would_be_ignored_are_refused(pictures, tmp_path):
    with pytest.raises(ValueError, match="--whole-every goes with --first-cells"):
        randar("train", pictures, "--tokenizer", "t", "--whole-every", 4)
    with pytest.raises(ValueError, match="--count is for 'procedural'"):
        randar("train-tokenizer", pictures, "--out", tmp_path, "--size", 16, "--count", 5)
    for option in (("--turn", 15), ("--extent", 0.3, 0.4), ("--one-way",)):
        with pytest.raises(ValueError, match=f"{option[0]} is for 'procedural-shapes'"):
            randar("train-tokenizer", pictures, "--out", tmp_path, "--size", 16, *option)
    for drawn, option in itertools.product((pictures, "procedural-shapes"), ("--views", "--foreign-scenes")):
        with pytest.raises(ValueError, match=f"{option} is for 'procedural'"):
            randar("train-tokenizer", drawn, "--out", tmp_path, "--size", 16, option, 0.5)


def test_a_training_on_varied_landscapes_resumes_on_the_same_alone(tmp_path):
    words = ["train-tokenizer", "procedural", "--out", tmp_path, "--size", 16, "--count", 8, "--steps", 2]
    words += ["--batch", 2, *SMALL, "--warmup", 1, "--device", "cpu", "--views", 0.5]
    randar(*words, "--foreign-scenes", 0.25)
    facts = Landscapes(0, 8, 16, views=0.5, foreign_scenes=0.25).facts()
    assert run_state.load(tmp_path / "checkpoint.pt").setting["pictures"] == facts
    randar(*words, "--foreign-scenes", 0.25, "--resume")
    with pytest.raises(ValueError, match="foreign_scenes: 0.25 then, not set now"):
        randar(*words, "--resume")


def test_a_training_on_bounded_pictures_resumes_on_the_same_alone(tmp_path):
    words = ["train-tokenizer", "procedural-shapes", "--out", tmp_path, "--size", 16, "--count", 8, "--steps", 2]
    words += ["--batch", 2]
    words += [*SMALL, "--warmup", 1, "--device", "cpu", "--turn", 15, "--one-way"]
    randar(*words, "--extent", 0.6, 0.8)
    setting = run_state.load(tmp_path / "checkpoint.pt").setting
    assert setting["pictures"] == Pictures(0, 8, 16, PORTRAIT).facts()
    randar(*words, "--extent", 0.6, 0.8, "--resume")
    with pytest.raises(ValueError, match="half"):
        randar(*words, "--extent", 0.5, 0.8, "--resume")


def test_a_size_that_tokens_do_not_divide_is_refused(pictures, tmp_path):
    with pytest.raises(ValueError, match="--size 15 isn't a multiple of 8"):
        randar("train-tokenizer", pictures, "--out", tmp_path / "t", "--size", 15)


@pytest.mark.parametrize("name", [trainings.TOKENIZER_FILE, "samples-000001.png", "log.csv"])
def test_a_training_replaces_files_by_force_alone(name, pictures, tmp_path):
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / name).write_text("another program's")
    with pytest.raises(ValueError, match=f"files that a new training would replace .{name}"):
        randar("train-tokenizer", pictures, "--out", tmp_path / "t", *SHORT, *SMALL)
    assert (tmp_path / "t" / name).read_text() == "another program's"
    randar("train-tokenizer", pictures, "--out", tmp_path / "t", *SHORT, *SMALL, "--force")
    assert (tmp_path / "t" / name).read_bytes() != b"another program's"


def test_two_trainings_do_not_share_a_folder(pictures, tmp_path):
    (tmp_path / "t").mkdir()
    lock = RunLock(tmp_path / "t" / command.LOCK, "the folder")
    lock.acquire()
    with pytest.raises(ValueError, match="Another run is writing to the folder '.*t'"):
        randar("train-tokenizer", pictures, "--out", tmp_path / "t", *SHORT, *SMALL)
    lock.release()
    randar("train-tokenizer", pictures, "--out", tmp_path / "t", *SHORT, *SMALL)
    assert command.LOCK not in {path.name for path in (tmp_path / "t").iterdir()}


def test_the_built_in_model_of_an_earlier_training_stays(tmp_path):
    (tmp_path / "builtin.safetensors").write_text("hours of work")
    with pytest.raises(ValueError, match="builtin.safetensors' exists already"):
        randar("train-builtin", "--out", tmp_path, "--device", "cpu")
