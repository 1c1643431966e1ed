"""Sets of many pictures: shared by processes, cut and resumed."""

import errno
import json

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import NAMES
from two_processes import draw, launch

from randar_core.checkpoints.bundle import save_bundle
from randar_core.checkpoints.model import load_model
from randar_core.checkpoints.releases import Defaults
from randar_core.cli import generate as command
from randar_core.cli import main
from randar_core.io.run_lock import RunLock
from randar_core.runtime import progress_lines as progress
from randar_core.runtime.capabilities import can_pack_in
from randar_core.tasks.generate import generate


@pytest.fixture(scope="module")
def words(bundle):
    """A set of twelve pictures in batches of two."""
    options = ("--count", "4", "--batch", "2", "--seed", "3", "--dtype", "float32", "--device", "cpu")
    return ["generate", "all", "--model", str(bundle), *options]


@pytest.fixture(scope="module")
def whole(words, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "set.npz"
    assert main([*words, "--npz", str(path)]) == 0
    with np.load(path) as found:
        return {name: found[name] for name in found.files}


def same(path, whole) -> bool:
    with np.load(path) as found:
        return all((found[name] == whole[name]).all() for name in ("arr_0", "arr_1", "pictures"))


@pytest.fixture
def cut(monkeypatch):
    """Breaks the next run off in its third batch; counts the pictures that later ones draw."""
    drawn = []

    def counted(model, conditions, options, *rest, **more):
        drawn.extend(options.batch_index)
        if len(drawn) == 6:
            raise KeyboardInterrupt
        return generate(model, conditions, options, *rest, **more)

    monkeypatch.setattr(command, "generate", counted)
    return drawn


def test_a_set_is_what_an_evaluator_reads(whole):
    assert whole["arr_0"].shape == (12, 8, 8, 3) and whole["arr_0"].dtype == np.uint8
    assert len(np.unique(whole["arr_0"], axis=0)) == 12


def test_classes_take_turns_in_a_set(whole):
    assert whole["arr_1"].tolist() == [0, 1, 2] * 4


def test_a_set_says_how_it_was_drawn(whole):
    facts = json.loads(str(whole["parameters"]))
    assert (facts["classes"], facts["count"], facts["seed"], facts["steps"]) == (["all"], 4, 3, 5)


def test_a_picture_of_a_set_can_be_drawn_alone(words, whole, bundle, tmp_path):
    one = ["generate", "house", "--first", "5", *words[2:], "--count", "1", "--out", str(tmp_path)]
    assert main(one) == 0
    assert (np.asarray(Image.open(tmp_path / "00005_house.png")) == whole["arr_0"][5]).all()


def test_two_processes_write_the_set_of_one(words, whole, tmp_path):
    path = tmp_path / "new" / "set.npz"
    said = launch(draw, [*words, "--npz", str(path)])
    assert same(path, whole)
    assert "".join(said.values()).count("12 pictures in") == 1
    assert [file.name for file in path.parent.iterdir()] == ["set.npz"]


def test_a_set_that_was_cut_is_finished_by_a_resume(words, whole, tmp_path, cut):
    path = tmp_path / "set.npz"
    assert main([*words, "--npz", str(path)]) == 130
    assert not path.exists()
    (tmp_path / "set.npz.shards" / "00000008.part").write_bytes(b"half a shard")
    cut.clear()
    # Another batch and therefore other shards: what is there stays.
    assert main([*words, "--batch", "3", "--npz", str(path), "--resume"]) == 0
    assert cut == list(range(4, 12))
    assert same(path, whole)
    assert [file.name for file in tmp_path.iterdir()] == ["set.npz"]


@pytest.mark.skipif(not can_pack_in("int8"), reason="no kernels for weights in int8 here")
def test_in_8_bits_a_set_goes_on_with_its_own_batch_alone(words, tmp_path, capsys, cut):
    """What is drawn together matters there."""
    path = tmp_path / "set.npz"
    assert main([*words, "--dtype", "int8", "--npz", str(path)]) == 130
    assert main([*words, "--dtype", "int8", "--batch", "3", "--npz", str(path), "--resume"]) not in (0, 130)
    assert "batch" in capsys.readouterr().err
    assert main([*words, "--dtype", "int8", "--npz", str(path), "--resume"]) == 0


def test_a_finished_set_is_not_drawn_again(words, tmp_path, capsys, cut):
    path = tmp_path / "set.npz"
    small = [*words, "--count", "1", "--npz", str(path), "--resume"]
    assert main(small) == 0 and main(small) == 0
    assert cut == [0, 1, 2]
    assert "3 existed, none was drawn" in capsys.readouterr().out


def test_a_set_is_replaced_by_force_alone(words, tmp_path, capsys):
    small = [*words, "--count", "1", "--npz", str(tmp_path / "set.npz")]
    assert main(small) == 0
    assert main(small) == 2
    assert "set.npz' exists already. Add --resume" in capsys.readouterr().err
    before = (tmp_path / "set.npz").read_bytes()
    assert main([*small, "--seed", "4", "--force"]) == 0
    assert (tmp_path / "set.npz").read_bytes() != before
    assert [file.name for file in tmp_path.iterdir()] == ["set.npz"]


def test_a_set_of_other_settings_is_named_at_a_resume(words, tmp_path, capsys, cut):
    path = tmp_path / "set.npz"
    assert main([*words, "--npz", str(path)]) == 130
    assert main([*words, "--seed", "4", "--npz", str(path), "--resume"]) == 2
    assert "seed: 3 then, 4 now" in capsys.readouterr().err


def test_other_weights_of_the_same_name_are_noticed_at_a_resume(words, bundle, tmp_path, capsys, cut):
    path, other = tmp_path / "set.npz", tmp_path / "other" / "tiny.safetensors"
    assert main([*words, "--npz", str(path)]) == 130
    model = load_model(bundle)
    with torch.no_grad():
        model.transformer.output.weight.mul_(2)
    other.parent.mkdir()
    save_bundle(other, model.transformer, model.tokenizer, NAMES, Defaults(guidance=2.0, steps=5), "tiny")
    assert main([*words, "--model", str(other), "--npz", str(path), "--resume"]) == 2
    assert "begun with other settings (weights: " in capsys.readouterr().err


def test_without_classes_all_take_turns_until_so_many_pictures_are_drawn(bundle, tmp_path):
    path = tmp_path / "set.npz"
    assert main(["generate", "--count", "5", "--model", str(bundle), "--device", "cpu", "--npz", str(path)]) == 0
    with np.load(path) as found:
        assert found["arr_1"].tolist() == [0, 1, 2, 0, 1]


def test_shards_that_a_kill_left_go_when_a_finished_set_is_resumed(words, tmp_path):
    path = tmp_path / "set.npz"
    assert main([*words, "--npz", str(path)]) == 0
    left = tmp_path / "set.npz.shards"
    left.mkdir()
    (left / "00000000.npz").write_bytes(b"")
    assert main([*words, "--npz", str(path), "--resume"]) == 0
    assert [file.name for file in tmp_path.iterdir()] == ["set.npz"]


def test_single_files_are_kept_by_a_resume(words, tmp_path, cut):
    small = [*words, "--count", "1", "--out", str(tmp_path)]
    assert main(small) == 0
    (tmp_path / "00001_fish.png").unlink()
    cut.clear()
    assert main([*small, "--resume"]) == 0
    assert cut == [1]
    assert main([*small, "--seed", "4", "--resume", "--force"]) == 0
    assert cut == [1, 0, 1, 2]


@pytest.mark.parametrize("file", ["00000002.npz", "facts.json"])
def test_a_damaged_part_of_a_set_is_named_with_what_to_do(words, tmp_path, capsys, cut, file):
    path = tmp_path / "set.npz"
    assert main([*words, "--npz", str(path)]) == 130
    (tmp_path / "set.npz.shards" / file).write_bytes(b"")
    assert main([*words, "--npz", str(path), "--resume"]) == 2
    assert f"{file}' is damaged" in (said := capsys.readouterr().err) and "Delete it" in said


def test_a_set_that_cannot_be_written_leaves_no_half_and_says_what_to_do(words, tmp_path, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert main([*words, "--npz", str(tmp_path / "set.npz")]) == 2
    said = capsys.readouterr().err
    assert "00000000.npz' can't be written" in said and "Make room on the disk" in said and "--resume" in said
    assert [file.name for file in (tmp_path / "set.npz.shards").iterdir()] == ["facts.json"]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: not enough memory"),
    ],
)
def test_a_lack_of_memory_is_said_with_what_helps(words, tmp_path, capsys, monkeypatch, error):
    def draw(*_, **__):
        raise error

    monkeypatch.setattr(command, "generate", draw)
    assert main([*words, "--out", str(tmp_path)]) == 2
    assert "not enough memory" in (said := capsys.readouterr().err) and "--batch" in said


@pytest.mark.parametrize(
    ("more", "match"),
    [
        (["--npz", "set.npz", "--out", "there"], "leave out --out"),
        (["--boundary", "0"], "--boundary is for pictures of several times the size: add --factor"),
        (["--spatial-guidance", "2"], "--spatial-guidance is for pictures"),
    ],
)
def test_an_option_that_would_do_nothing_is_named(words, capsys, more, match):
    assert main([*words, *more]) == 2
    assert match in capsys.readouterr().err


def test_a_set_goes_into_an_npz_and_no_sheet(words, capsys):
    assert main([*words, "--npz", "set.npy"]) == 2
    assert main([*words, "--npz", "set.npz", "--sheet"]) == 2
    assert "ends in .npz" in capsys.readouterr().err


def test_two_runs_do_not_write_the_same_set(words, tmp_path, capsys):
    lock = RunLock(tmp_path / "set.npz.lock", "the set")
    lock.acquire()
    assert main([*words, "--npz", str(tmp_path / "set.npz")]) == 2
    assert "Another run is writing to the set" in capsys.readouterr().err
    lock.release()


def test_a_log_says_how_far_a_set_is(words, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    assert main([*words, "--npz", str(tmp_path / "set.npz")]) == 0
    assert "12 of 12 pictures" in capsys.readouterr().err
