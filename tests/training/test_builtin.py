"""The recipe of the built-in model."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tiny_trainings import CPU, TRANSFORMER

from randar_core.checkpoints.locate import locate
from randar_core.checkpoints.model import load_model, load_tokenizer
from randar_core.models.patches import PatchConfig, PatchTokenizer
from randar_core.models.randar import RandAR
from randar_core.procedural.render import Pictures
from randar_core.procedural.scene import FREE, PORTRAIT, UPRIGHT
from randar_core.training import builtin, run_state
from randar_core.training.fingerprint import hash_of, makes_same_ids
from randar_core.training.train import MODEL_FILE


def test_the_model_that_ships_is_of_the_recipe_and_small_enough_to_come_along():
    path = locate("builtin")
    model = load_model(path)
    assert path.stat().st_size <= 16 * 2**20
    assert model.class_names == builtin.CLASSES and model.defaults == builtin.DEFAULTS
    assert model.transformer.config == builtin.TRANSFORMER
    assert model.tokenizer.config == builtin.TOKENIZER
    assert model.transformer.config.grid * model.tokenizer.factor == builtin.TOKENIZER_PICTURES.size


@pytest.mark.parametrize(
    ("bounds", "facts"),
    [
        (FREE, {}),  # as in trainings from before there were bounds, which must resume
        (UPRIGHT, {"turn": 15.0}),
        (PORTRAIT, {"turn": 15.0, "half": [0.3, 0.4], "mirrored": False}),
    ],
)
def test_bounds_are_facts_where_there_are_any(bounds, facts):
    found = Pictures(3, 7, 16, bounds).facts()
    assert found == json.loads(json.dumps(found)) == {"procedural_seed": 3, "pictures": 7, "size": 16} | facts


def test_the_bundle_of_the_recipe_stays_small():
    networks = PatchTokenizer(builtin.TOKENIZER), RandAR(builtin.TRANSFORMER)
    assert 2 * sum(each.numel() for network in networks for each in network.parameters()) < 16 * 2**20  # in bfloat16
    assert builtin.TOKENIZER.codebook_size == builtin.TRANSFORMER.codebook_size
    assert builtin.TRANSFORMER.grid * builtin.TOKENIZER.factor == builtin.TOKENIZER_PICTURES.size


def test_the_recipe_goes_on_where_it_was_killed(tmp_path, monkeypatch):
    small = {"steps": 4, "batch": 2, "warmup": 1}
    pictures = replace(builtin.TOKENIZER_PICTURES, count=8, size=16)
    network = replace(TRANSFORMER, classes=len(builtin.CLASSES), codebook_size=8, grid=8)
    for name, value in {
        "TOKENIZER_PICTURES": pictures,
        "TOKENIZER": PatchConfig(codebook_size=8, factor=2, blocks=(2,), widths=(8,), res_blocks=(1,)),
        "DECODER_ROUNDS": tuple(
            replace(each, pictures=replace(each.pictures, count=8, size=16), loop=replace(each.loop, **small))
            for each in builtin.DECODER_ROUNDS
        ),
        "TRANSFORMER": network,
        "TRANSFORMER_ROUNDS": tuple(
            replace(
                each,
                pictures=replace(each.pictures, count=8, size=16),
                loop=replace(each.loop, **small),
            )
            for each in builtin.TRANSFORMER_ROUNDS
        ),
        "DEFAULTS": replace(builtin.DEFAULTS, steps=3),
    }.items():
        monkeypatch.setattr(builtin, name, value)
    whole = builtin.train_builtin(tmp_path / "whole", CPU)

    saved = run_state.save
    seen = []

    def kill_in_the_second_round(state, path):
        seen.append(path.parent.name)
        if path.parent.name == "transformer-2" and seen.count("transformer-2") == 1:
            raise KeyboardInterrupt
        saved(state, path)

    monkeypatch.setattr(run_state, "save", kill_in_the_second_round)
    with pytest.raises(KeyboardInterrupt):
        builtin.train_builtin(tmp_path / "killed", CPU)
    again = builtin.train_builtin(tmp_path / "killed", CPU, resume=True)
    assert seen.count("transformer-1") == 1
    setting = run_state.load(tmp_path / "killed" / "transformer-2" / "checkpoint.pt").setting
    first = load_model(tmp_path / "killed" / "transformer-1" / MODEL_FILE).transformer
    assert setting["start"] == hash_of(first.state_dict())
    assert setting["tokens"]["landscapes_seed"] == builtin.TRANSFORMER_ROUNDS[1].pictures.seed
    last_round = f"transformer-{len(builtin.TRANSFORMER_ROUNDS)}"
    last = run_state.load(tmp_path / "killed" / last_round / "checkpoint.pt").setting
    often = dict(zip(builtin.CLASSES, last["oversample"], strict=True))
    assert often == dict.fromkeys(builtin.CLASSES, 1) | dict(builtin.TRANSFORMER_ROUNDS[-1].oversample)
    weights, expected = load_file(again), load_file(whole)
    assert weights.keys() == expected.keys() and all(torch.equal(weights[key], expected[key]) for key in expected)
    # The decoder has learnt, and the codes are those that were found.
    before, after = load_tokenizer(tmp_path / "killed" / builtin.PATCHES), load_tokenizer(again)
    assert makes_same_ids(before, after)
    assert not torch.equal(after.decoder.stages[0].conv_out.weight, before.decoder.stages[0].conv_out.weight)
    with pytest.raises(ValueError, match="holds a training already"):
        builtin.train_builtin(tmp_path / "killed", CPU)
    monkeypatch.setattr(builtin, "TOKENIZER", replace(builtin.TOKENIZER, widths=(4,)))
    with pytest.raises(ValueError, match="of another recipe"):
        builtin.train_builtin(tmp_path / "killed", CPU, resume=True)
