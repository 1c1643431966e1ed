"""What transformers of all families that learn here have in common, and the groups that LPD learns in."""

from dataclasses import asdict, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_trainings import SETTING, losses, run_in

from randar_core.decoding.schedule import call_sizes
from randar_core.models.lpd import LPD, LPDConfig
from randar_core.training.samples import Prefixes, TokenSamples
from randar_core.training.training_loop import train
from randar_core.training.transformer import (
    TRAINABLE,
    GroupObjective,
    calls_to_learn,
    first_groups,
    initialise,
    objective_of,
)

GRID, CODES = 4, 16
SIZE = {"width": 32, "layers": 2, "heads": 2, "codebook_size": CODES, "classes": 3, "grid": GRID}


def new(family: str, seed: int = 0) -> torch.nn.Module:
    model = TRAINABLE[family].network(TRAINABLE[family].config(**SIZE))
    initialise(model, seed)
    return model


def one_picture(model) -> TokenSamples:
    """The same picture in every sample, along orders of their own."""
    ids = torch.randint(CODES, (1, GRID**2), generator=torch.Generator().manual_seed(5))
    return TokenSamples(ids, torch.zeros(1, dtype=torch.long), model.null_class, seed=0, class_dropout=0.0)


@pytest.mark.parametrize("family", TRAINABLE)
def test_every_token_is_equally_likely_at_first_and_every_weight_has_a_gradient(family):
    model = new(family)
    sample = {name: value[None] for name, value in one_picture(model)[0].items()}
    loss, figures = objective_of(model, 0)(sample, 0)
    assert loss.item() == pytest.approx(torch.tensor(float(CODES)).log().item())
    assert figures["cells"] == GRID**2
    model.get_parameter(model.traits.learning.output).data.normal_()
    objective_of(model, 0)(sample, 0)[0].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


@pytest.mark.parametrize("family", TRAINABLE)
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_picture_is_learnt(family, optimizer, tmp_path):
    model = new(family)
    setting = replace(SETTING, steps=60, learning_rate=2e-2, average=0.0, optimizer=optimizer)
    train(objective_of(model, 0), one_picture(model), run_in(tmp_path, setting, sample_every=100), asdict(model.config))
    found = losses(tmp_path)
    # ARPG's queries know their cell by its distance from known ones alone, which takes long to learn.
    assert found[-1] < (0.9 if family == "arpg" else 0.5) * found[0]


@pytest.mark.parametrize("family", TRAINABLE)
def test_a_resumed_training_goes_on_where_it_was(family, tmp_path):
    setting = replace(SETTING, steps=6)

    def learn(folder, **changes):
        model = new(family)
        return train(objective_of(model, 0), one_picture(model), run_in(folder, setting, **changes), {})

    whole = learn(tmp_path / "whole")
    model = new(family)
    with pytest.raises(KeyboardInterrupt):
        run = run_in(tmp_path / "cut", setting)
        train(objective_of(model, 0), one_picture(model), run, {}, on_sample=kill_at_4)
    resumed = learn(tmp_path / "cut", resume=True)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def kill_at_4(done: int) -> None:
    if done == 4:
        raise KeyboardInterrupt


# Groups


def test_the_numbers_of_calls_are_the_published_ones_and_in_proportion_for_other_grids():
    assert calls_to_learn(256) == [8, 12, 16, 20, 24, 32, 64, 128, 256]
    assert calls_to_learn(1024)[0] == 32 and len(calls_to_learn(1024)) == 14
    assert calls_to_learn(64) == [2, 3, 4, 5, 6, 8, 16, 32, 64]


@given(cells=st.integers(1, 300), calls=st.integers(1, 300), data=st.data())
def test_the_first_groups_hold_the_first_cells(cells, calls, data):
    sizes = call_sizes(cells, calls, schedule="lpd")
    count = data.draw(st.integers(1, cells))
    first = first_groups(sizes, count)
    assert sum(first) == count and min(first) >= 1
    assert first[:-1] == sizes[: len(first) - 1] and first[-1] <= sizes[len(first) - 1]


def test_the_grouping_is_drawn_anew_for_every_step_and_is_the_same_for_equal_seeds():
    model = new("lpd")
    sample = {name: value[None] for name, value in one_picture(model)[0].items()}

    def groups(seed: int) -> list[int]:
        objective = GroupObjective(model, seed)
        return [objective(sample, step)[1]["groups"] for step in range(40)]

    assert groups(0) == groups(0) != groups(1)
    assert set(groups(0)) == {2, 3, 4, 8, 16} & set(groups(0)) and len(set(groups(0))) > 2


def test_a_token_is_predicted_from_earlier_groups_alone():
    """No logits of a group depend on the tokens of the group; those of all later groups do."""
    model = new("lpd")
    model.head.weight.data.normal_()
    samples = one_picture(model)
    sample = {name: value[None] for name, value in samples[0].items()}
    condition = model.class_embedding(sample["classes"])
    sizes = [1, 4, 5, 6]
    logits = model(condition, sample["tokens"], sample["order"], group_sizes=sizes)
    changed = sample["tokens"].clone()
    changed[:, 2] = (changed[:, 2] + 1) % CODES  # the second token of the second group
    other = model(condition, changed, sample["order"], group_sizes=sizes)
    assert torch.equal(logits[:, :5], other[:, :5])
    assert (logits[:, 5:] - other[:, 5:]).abs().amax(-1).min() > 1e-5


def test_teacher_forced_groups_have_the_logits_of_a_decode_in_these_groups():
    model = LPD(LPDConfig(**SIZE))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(parameter.numel()))
    samples = replace(one_picture(model), prefixes=Prefixes(11, 8))
    sample = {name: value[None] for name, value in samples[0].items()}
    condition, sizes = model.class_embedding(sample["classes"]), [1, 3, 4, 3]
    with torch.no_grad():
        forced = model(condition, sample["tokens"], sample["order"], group_sizes=sizes)
        state, done, fed = model.start(condition, sample["order"]), 0, 0
        for size in sizes:
            logits = model.step(state, sample["tokens"][:, fed:done], size)
            torch.testing.assert_close(logits, forced[:, done : done + size], rtol=1e-4, atol=1e-4)
            fed, done = done, done + size
