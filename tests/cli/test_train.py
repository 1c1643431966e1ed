"""The commands that train, as a user meets them."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from tiny_cli import randar
from tiny_pictures import save_picture
from tiny_trainings import losses

from randar_core.checkpoints.model import load_model, load_tokenizer
from randar_core.cli import train as command
from randar_core.io.run_lock import RunLock
from randar_core.procedural.render import Pictures
from randar_core.procedural.scene import PORTRAIT
from randar_core.training import run_state
from randar_core.training import train as trainings
from randar_core.training.folder import open_folder
from randar_core.training.optimizers import OPTIMIZERS
from randar_core.training.transformer import TRAINABLE


def test_the_command_offers_every_optimizer(capsys):
    with pytest.raises(SystemExit):
        randar("train", "procedural", "--tokenizer", "t", "--optimizer", "sgd")
    said = capsys.readouterr().err
    assert all(name in said for name in OPTIMIZERS)


def test_from_a_folder_to_a_model_that_loads(pictures, tmp_path, capsys):

    shutil.rmtree(pictures / "red")
    short = ("--steps", 3, "--batch", 2, "--save-every", 2, "--sample-every", 3, "--device", "cpu", "--size", 16)
    small = ("--channels", 4, "--multipliers", 1, 2, "--codebook-size", 8, "--z-channels", 8, "--norm-groups", 2)
    randar("train-tokenizer", pictures, "--out", tmp_path / "t", *short, *small)
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
    small = ("--channels", 4, "--multipliers", 1, 2, "--codebook-size", 8, "--z-channels", 8, "--norm-groups", 2)
    randar("train-tokenizer", pictures, "--out", tmp_path / "t", *short, *small)
    tiny = ("--family", family, "--width", 16, "--layers", 2, "--heads", 2, "--optimizer", "muon", "--first-cells", 5)
    learn = ("train", pictures, "--tokenizer", tmp_path / "t" / trainings.TOKENIZER_FILE, *short, *tiny)
    randar(*learn, "--out", tmp_path / family)
    model = load_model(tmp_path / family / trainings.MODEL_FILE)
    assert type(model.transformer) is TRAINABLE[family].network
    assert (model.defaults.order, model.defaults.steps) == (order, steps)
    assert (tmp_path / family / "samples-000002.png").exists()
    with pytest.raises(ValueError, match="begun with other settings.*family: "):
        randar(*learn, "--family", "randar", "--out", tmp_path / family, "--resume")
    with pytest.raises(ValueError, match="--start-from is for models of the family randar"):
        randar(*learn, "--out", tmp_path / "more", "--start-from", tmp_path / family / trainings.MODEL_FILE)


def test_the_first_process_reads_the_folder_for_all(pictures, monkeypatch, capsys):
    found = open_folder(pictures, 16)
    heard = [found, None]
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(
        torch.distributed, "broadcast_object_list", lambda answer: answer.__setitem__(slice(None), heard)
    )
    monkeypatch.setattr("randar_core.training.folder.check_picture", None)  # nothing is read
    arguments = SimpleNamespace(pictures=str(pictures), size=16, count=None, turn=None, extent=None, one_way=None)
    assert command.pictures_of(arguments).pictures == found
    assert capsys.readouterr().out == ""
    heard[:] = None, ValueError("The class folder 'green' holds no pictures.")
    with pytest.raises(ValueError, match="green"):
        command.pictures_of(arguments)


def test_what_is_skipped_is_named_and_counted_before_a_training(pictures, tmp_path, capsys):
    (pictures / "red" / "noise.png").write_bytes(b"no picture")
    save_picture(pictures / "blue" / "small.png", 15, 40)
    command.pictures_of(
        SimpleNamespace(pictures=str(pictures), size=16, count=None, turn=None, extent=None, one_way=None)
    )
    said = capsys.readouterr().out
    assert "6 pictures in 2 classes: blue, red" in said and "Left out in all: 2." in said
    assert "noise.png: it isn't a picture" in said and "small.png: it has 15×40 pixels" in said


def test_what_can_be_refused_is_before_the_ids_are_made(pictures, tmp_path, monkeypatch):
    common = ("--batch", 2, "--device", "cpu", "--size", 16, "--steps", 1)
    small = ("--channels", 4, "--multipliers", 1, 2, "--codebook-size", 8, "--z-channels", 8, "--norm-groups", 2)
    randar("train-tokenizer", pictures, "--out", tmp_path / "t", *common, *small)
    network = ("--width", 16, "--layers", 1, "--heads", 2)
    short = (
        "train",
        pictures,
        "--tokenizer",
        tmp_path / "t" / trainings.TOKENIZER_FILE,
        *common,
        "--out",
        tmp_path / "d",
    )
    randar(*short, *network, "--sheet-steps", 3)

    def encode(*_, **__):
        raise AssertionError("ids were made")

    monkeypatch.setattr(trainings, "encode_once", encode)
    with pytest.raises(ValueError, match="holds a training already"):
        randar(*short, *network)
    with pytest.raises(ValueError, match="can't have 3 heads"):
        randar(*short[:-1], tmp_path / "e", "--width", 16, "--heads", 3)
    with pytest.raises(SystemExit):
        randar(*short[:-1], tmp_path / "e", *network, "--guidance", "nan")
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        randar(*short[:-1], tmp_path / "e", *network, "--resume")
    save_picture(pictures / "red" / "more.png", 20, 20)
    with pytest.raises(ValueError, match=r"tokens\.pictures: 6 then, 7 now"):
        randar(*short, *network, "--sheet-steps", 3, "--resume")


def test_a_trained_model_goes_on_with_other_classes(pictures, tmp_path):

    common = ("--batch", 2, "--device", "cpu", "--size", 16)
    small = ("--channels", 4, "--multipliers", 1, 2, "--codebook-size", 8, "--z-channels", 8, "--norm-groups", 2)
    randar("train-tokenizer", pictures, "--out", tmp_path / "t", *common, "--steps", 2, *small)
    short = (*common, "--tokenizer", tmp_path / "t" / trainings.TOKENIZER_FILE, "--sheet-steps", 3)
    network = ("--width", 16, "--layers", 1, "--heads", 2)
    randar("train", pictures, "--out", tmp_path / "first", *short, *network, "--steps", 4)
    first = tmp_path / "first" / trainings.MODEL_FILE
    before = load_model(first)
    # A rate of zero shows what the training began with.
    still = ("--steps", 1, "--rate", 0, "--weight-decay", 0, "--start-from", first)
    randar("train", pictures, "--out", tmp_path / "same", *short, *still)
    shutil.rmtree(pictures / "red")
    randar("train", pictures, "--out", tmp_path / "fewer", *short, *still)
    same, fewer = (load_model(tmp_path / name / trainings.MODEL_FILE) for name in ("same", "fewer"))
    assert (before.transformer.config.classes, fewer.transformer.config.classes) == (2, 1)
    classes = "cls_embedding.embedding_table.weight"
    for name, weights in before.transformer.state_dict().items():
        torch.testing.assert_close(same.transformer.state_dict()[name], weights)
        if name != classes:
            torch.testing.assert_close(fewer.transformer.state_dict()[name], weights)
    # Of "blue", "red" and none, "red" is gone.
    torch.testing.assert_close(
        fewer.transformer.state_dict()[classes], before.transformer.state_dict()[classes][[0, 2]]
    )
    with pytest.raises(ValueError, match="but for added layers; leave out --heads, --width"):
        randar("train", pictures, "--out", tmp_path / "x", *short, *network, "--start-from", first)
    oversampled = (*still, "--layers", 3, "--oversample", "Blue=2", "--oversample", "0=2")
    with pytest.raises(ValueError, match="How often the class 'blue' comes is said twice"):
        randar("train", pictures, "--out", tmp_path / "grown", *short, *oversampled)
    with pytest.raises(ValueError, match="There is no class named 'blu'. Did you mean blue"):
        randar("train", pictures, "--out", tmp_path / "grown", *short, *still, "--oversample", "blu=2")
    randar("train", pictures, "--out", tmp_path / "grown", *short, *oversampled[:-2])
    with pytest.raises(ValueError, match="oversample: "):
        other = (*oversampled[:-3], "blue=3", "--resume")
        randar("train", pictures, "--out", tmp_path / "grown", *short, *other)
    grown = load_model(tmp_path / "grown" / trainings.MODEL_FILE)
    assert grown.transformer.config.layers == 3
    with pytest.raises(ValueError, match="has 3 layers, the one to be trained 2: ask for 3 or more"):
        shrunk = ("--start-from", tmp_path / "grown" / trainings.MODEL_FILE, "--layers", 2)
        randar("train", pictures, "--out", tmp_path / "w", *short, "--steps", 1, *shrunk)
    with pytest.raises(ValueError, match="has grid 8, the one to be trained 4"):
        larger = ("--size", 8, "--start-from", first)
        randar("train", pictures, "--out", tmp_path / "y", *short, *larger)
    randar("train-tokenizer", pictures, "--out", tmp_path / "u", *common, "--steps", 2, *small, "--seed", 1)
    with pytest.raises(ValueError, match="learnt the ids of another tokenizer"):
        other = ("--tokenizer", tmp_path / "u" / trainings.TOKENIZER_FILE)
        randar("train", pictures, "--out", tmp_path / "z", *common, *other, "--steps", 1, "--start-from", first)
    with pytest.raises(ValueError, match="start: not set then"):
        randar("train", pictures, "--out", tmp_path / "first", *short, *still, "--resume")


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


def test_a_training_on_bounded_pictures_resumes_on_the_same_alone(tmp_path):
    words = ["train-tokenizer", "procedural-shapes", "--out", tmp_path, "--size", 16, "--count", 8, "--steps", 2]
    words += ["--batch", 2]
    words += ["--channels", 4, "--multipliers", 1, 2, "--codebook-size", 8, "--z-channels", 8, "--norm-groups", 2]
    words += ["--warmup", 1, "--device", "cpu", "--turn", 15, "--one-way"]
    randar(*words, "--extent", 0.6, 0.8)
    setting = run_state.load(tmp_path / "checkpoint.pt").setting
    assert setting["pictures"] == Pictures(0, 8, 16, PORTRAIT).facts()
    randar(*words, "--extent", 0.6, 0.8, "--resume")
    with pytest.raises(ValueError, match="half"):
        randar(*words, "--extent", 0.5, 0.8, "--resume")


def test_better_pixels_of_the_same_codes(tmp_path):
    short = ("--batch", 2, "--device", "cpu", "--size", 16, "--count", 12, "--rate", 0.01, "--warmup", 1)
    small = ("--channels", 4, "--multipliers", 1, 2, "--codebook-size", 8, "--z-channels", 8, "--norm-groups", 2)
    randar("train-tokenizer", "procedural-shapes", "--out", tmp_path / "t", *short, *small, "--steps", 3)
    first = tmp_path / "t" / trainings.TOKENIZER_FILE
    randar("train-tokenizer", "procedural-shapes", "--out", tmp_path / "p", *short, "--steps", 60, "--pixels-of", first)
    before, after = load_tokenizer(first), load_tokenizer(tmp_path / "p" / trainings.TOKENIZER_FILE)
    for name, weights in before.state_dict().items():
        fixed = name.startswith(("encoder.", "quant_conv.", "quantize."))
        assert torch.equal(weights, after.state_dict()[name]) == fixed, name
    pixels = torch.stack([torch.from_numpy(Pictures(0, 12, 16)[i][0]) for i in range(3)]).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        ids = before.encode(pixels)
        assert torch.equal(ids, after.encode(pixels))
        errors = [F.mse_loss(each.decode(ids), pixels).item() for each in (before, after)]
        assert errors[1] < 0.9 * errors[0]
    with pytest.raises(ValueError, match="leave out --channels, --codebook-size"):
        randar("train-tokenizer", "procedural-shapes", "--pixels-of", first, *small[:2], "--codebook-size", 8)
    changes = ("--decoder-multipliers", 1, 4, "--margin", 0, "--steps", 2)
    randar("train-tokenizer", "procedural-shapes", "--out", tmp_path / "w", *short, *changes, "--pixels-of", first)
    wide = load_tokenizer(tmp_path / "w" / trainings.TOKENIZER_FILE)
    assert before.config.margin == after.config.margin == 1
    assert wide.config == replace(before.config, decoder_multipliers=(1, 4), margin=0)
    assert torch.equal(wide.encode(pixels), ids)
    with pytest.raises(ValueError, match="begun with other settings"):
        randar(
            "train-tokenizer", "procedural-shapes", "--out", tmp_path / "p", *short, "--steps", 60, "--resume",
            "--pixels-of", tmp_path / "p" / trainings.TOKENIZER_FILE, "--seed", 1,
        )  # fmt: skip


def test_a_size_that_tokens_do_not_divide_is_refused(pictures, tmp_path):
    with pytest.raises(ValueError, match="--size 15 isn't a multiple of 8"):
        randar("train-tokenizer", pictures, "--out", tmp_path / "t", "--size", 15)


SMALL = ("--channels", 4, "--multipliers", 1, 2, "--codebook-size", 8, "--z-channels", 8, "--norm-groups", 2)
SHORT = ("--batch", 2, "--device", "cpu", "--size", 16, "--steps", 1)


@pytest.mark.parametrize("family", ["arpg", "lpd"])
def test_other_families_are_trained_too(family, pictures, tmp_path):
    randar("train-tokenizer", pictures, "--out", tmp_path / "t", *SHORT, *SMALL)
    tokenizer = tmp_path / "t" / trainings.TOKENIZER_FILE
    network = ("--width", 16, "--layers", 2, "--heads", 2, "--sheet-steps", 3, "--family", family)
    randar("train", pictures, "--tokenizer", tokenizer, "--out", tmp_path / "d", *SHORT, *network)
    assert type(load_model(tmp_path / "d" / trainings.MODEL_FILE).transformer).__name__ == family.upper()
    with pytest.raises(ValueError, match="--start-from is for models of the family randar"):
        start = ("--start-from", tmp_path / "d" / trainings.MODEL_FILE, "--family", family)
        randar("train", pictures, "--tokenizer", tokenizer, "--out", tmp_path / "e", *SHORT, *start)


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
