"""The training loop: what it learns, what it refuses, how it goes on."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_trainings import (
    SETTING,
    TRANSFORMER,
    adversarial_run,
    decoder_run,
    kill_at,
    losses,
    muon_run,
    some_ids,
    tokenizer_run,
    transformer_run,
)
from two_processes import launch
from two_processes import train as train_together

from randar_core.training import run_state
from randar_core.training.tokens import load_tokens
from randar_core.training.transformer import TransformerObjective


@pytest.mark.parametrize("run", [transformer_run, muon_run, tokenizer_run, decoder_run, adversarial_run])
def test_a_killed_training_resumes_exactly(run, whole, tmp_path):
    folder, trained = whole(run)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", on_sample=kill_at(5))
    resumed = run(tmp_path / "killed", resume=True)
    for (name, expected), found in zip(trained.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(expected, found), name
    assert losses(folder) == losses(tmp_path / "killed")


def test_the_usage_of_the_codebook_is_in_the_log_though_a_kill_came_between(tmp_path):
    # Usage is known after steps 4, 6 and 8, a checkpoint is made after step 6, and the kill comes before the row of 7.
    tokenizer_run(tmp_path / "whole", log_every=7)
    with pytest.raises(KeyboardInterrupt):
        tokenizer_run(tmp_path / "killed", on_sample=kill_at(6), log_every=7)
    tokenizer_run(tmp_path / "killed", resume=True, log_every=7)
    whole, killed = ((tmp_path / name / "log.csv").read_text().splitlines() for name in ("whole", "killed"))
    columns = whole[0].split(",")

    def without_seconds(rows: list[str]) -> list[dict[str, str]]:
        return [{**dict(zip(columns, row.split(","), strict=True)), "seconds": ""} for row in rows[1:]]

    assert without_seconds(whole) == without_seconds(killed)
    assert sum(bool(row["usage"]) for row in without_seconds(whole)) == 2


def test_the_same_seed_gives_the_same_training_and_another_seed_another(whole, tmp_path):
    first, second = whole(transformer_run)[1], transformer_run(tmp_path / "second")
    other = transformer_run(tmp_path / "other", replace(SETTING, seed=1))
    assert torch.equal(first.output.weight, second.output.weight)
    assert not torch.equal(first.output.weight, other.output.weight)


def test_training_learns(tmp_path):
    transformer_run(tmp_path / "run", replace(SETTING, steps=80, batch=10), save_every=80, sample_every=80)
    course = losses(tmp_path / "run")
    assert course[0] == pytest.approx(np.log(16), rel=1e-3)
    assert np.mean(course[-5:]) < 0.8 * course[0]


def test_a_batch_that_processes_cannot_share_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    with pytest.raises(ValueError, match="batch of 4 can't be shared evenly among 3"):
        transformer_run(tmp_path / "run")


def test_another_configuration_is_named_at_a_resume(tmp_path):
    transformer_run(tmp_path / "run")
    with pytest.raises(ValueError, match=r"decoder\.width: 32 then, 64 now"):
        transformer_run(tmp_path / "run", resume=True, config=replace(TRANSFORMER, width=64))
    with pytest.raises(ValueError, match=r"loop\.batch: 4 then, 2 now"):
        transformer_run(tmp_path / "run", replace(SETTING, batch=2), resume=True)


def test_a_folder_with_a_training_is_not_overwritten(tmp_path):
    transformer_run(tmp_path / "run")
    with pytest.raises(ValueError, match="holds a training already. Add --resume"):
        transformer_run(tmp_path / "run")


def test_no_checkpoint_is_made_of_weights_that_are_no_numbers(tmp_path):
    # Between two rows of the log, at the third step, where the checkpoint is due.
    setting = replace(SETTING, learning_rate=1e30, clip=1e30)
    with pytest.raises(ValueError, match="its gradient (nan|inf)"):
        transformer_run(tmp_path / "run", setting, log_every=100)
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_a_loss_that_is_no_number_stops_the_training(tmp_path):
    with pytest.raises(ValueError, match="loss of step .* is .*, its gradient (nan|inf)"):
        transformer_run(tmp_path / "run", replace(SETTING, learning_rate=1e30, clip=1e30))


def test_a_kill_while_a_checkpoint_is_written_leaves_the_last_good_one(whole, tmp_path, monkeypatch):
    trained, written = whole(transformer_run)[1], torch.save

    def killed_at_step_6(state: dict, file) -> None:
        if state["step"] == 6:
            file.write(b"half of a checkpoint")
            raise KeyboardInterrupt
        written(state, file)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch, "save", killed_at_step_6)
        transformer_run(tmp_path / "killed")
    assert run_state.load(tmp_path / "killed" / "checkpoint.pt").step == 3
    resumed = transformer_run(tmp_path / "killed", resume=True)
    assert all(map(torch.equal, trained.state_dict().values(), resumed.state_dict().values()))
    assert not list((tmp_path / "killed").glob("*.part"))


def test_a_clip_of_nothing_clips_nothing(tmp_path):
    free, far = (transformer_run(tmp_path / f"{clip}", replace(SETTING, clip=clip)) for clip in (0.0, 1e9))
    assert all(torch.equal(*pair) for pair in zip(free.parameters(), far.parameters(), strict=True))


def test_a_small_clip_clips(tmp_path):
    free, tight = (transformer_run(tmp_path / f"{clip}", replace(SETTING, clip=clip)) for clip in (0.0, 0.01))
    assert not all(torch.equal(*pair) for pair in zip(free.parameters(), tight.parameters(), strict=True))
    rows = csv.DictReader((tmp_path / "0.01" / "log.csv").read_text().splitlines())
    gradients = [float(row["gradient"]) for row in rows]
    assert min(gradients) > 0.01  # the log has what it was before


def test_what_comes_out_is_the_average_of_the_weights(tmp_path, monkeypatch):
    raw, save = [], run_state.save

    def keep(state, path):
        raw.append(state.objective["model.output.weight"].clone())
        save(state, path)

    monkeypatch.setattr(run_state, "save", keep)
    found = transformer_run(tmp_path / "run", save_every=1)
    expected = torch.zeros_like(raw[0])  # where the output layer begins
    for step, weights in enumerate(raw):
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weights
    assert len(raw) == SETTING.steps
    torch.testing.assert_close(found.output.weight, expected)
    assert not torch.allclose(found.output.weight, raw[-1])


@pytest.mark.parametrize("computes", [True, False])
def test_products_are_in_bfloat16_where_the_processor_has_them(tmp_path, monkeypatch, computes):
    monkeypatch.setattr("randar_core.runtime.capabilities.bfloat16_is_quick_on_cpu", lambda: computes)
    seen, forward = [], TransformerObjective.forward

    def watched(self, batch, step):
        loss, figures = forward(self, batch, step)
        seen.append(self.model.output(torch.zeros(1, TRANSFORMER.width)).dtype)
        return loss, figures

    monkeypatch.setattr(TransformerObjective, "forward", watched)
    trained = transformer_run(tmp_path / "run")
    assert set(seen) == {torch.bfloat16 if computes else torch.float32}
    assert all(parameter.dtype == torch.float32 for parameter in trained.parameters())


def test_a_new_training_replaces_files_by_force_alone(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "log.csv").write_text("another program's\n")
    with pytest.raises(ValueError, match=r"files that a new training would replace \(log.csv\).*--force"):
        transformer_run(folder)
    assert (folder / "log.csv").read_text() == "another program's\n"
    transformer_run(folder, overwrite=True)
    assert len(losses(folder)) == SETTING.steps


def test_a_resume_never_continues_the_training_that_was_replaced(tmp_path):
    transformer_run(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        transformer_run(tmp_path / "run", on_sample=kill_at(1), overwrite=True)  # before its first checkpoint
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        transformer_run(tmp_path / "run", resume=True)


# --- shared by two processes ------------------------------------------------------------------------------------------


def test_two_processes_take_the_course_of_one(whole, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        transformer_run(tmp_path / "begun_alone", on_sample=kill_at(5))
    launch(train_together, str(tmp_path))
    # bfloat16 rounds sums of two halves otherwise than whole sums, and a rounded vector may choose another code.
    tolerances = {transformer_run: 1e-3, muon_run: 1e-3, tokenizer_run: 5e-3, decoder_run: 5e-3}
    for run, tolerance in tolerances.items():
        name = run.__name__.removesuffix("_run")
        assert losses(tmp_path / name) == pytest.approx(losses(whole(run)[0]), rel=tolerance), name
    assert losses(tmp_path / "begun_alone") == pytest.approx(losses(whole(transformer_run)[0]), rel=1e-3)
    # What two networks learn from each other makes a rounding grow from step to step.
    first = losses(whole(adversarial_run)[0])[:4]
    assert losses(tmp_path / "adversarial")[:4] == pytest.approx(first, rel=5e-3)
    shared, alone = load_tokens(tmp_path / "ids.safetensors", {"shared": True}), some_ids({"shared": True})
    assert torch.equal(shared.ids, alone.ids) and torch.equal(shared.labels, alone.labels)
