"""The checkpoint of a training."""

from dataclasses import replace

import pytest
import torch
from full_disk import leave_no_room, needs_dev_full
from tiny_trainings import transformer_run

from randar_core.training import run_state


def test_a_resume_without_a_checkpoint_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        transformer_run(tmp_path / "run", resume=True)


def test_a_damaged_checkpoint_is_named(tmp_path):
    transformer_run(tmp_path / "run")
    path = tmp_path / "run" / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="checkpoint.pt' isn't a checkpoint of a training, or it is damaged"):
        transformer_run(tmp_path / "run", resume=True)


@needs_dev_full
def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    state = run_state.RunState(3, {"a": 1}, {"w": torch.ones(1000)}, {}, {})
    run_state.save(state, path)
    leave_no_room(path, monkeypatch)
    with pytest.raises(OSError, match="checkpoint of step 6 can't be written.*the one before it is untouched"):
        run_state.save(replace(state, step=6), path)
    assert run_state.load(path).step == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint.pt"]
