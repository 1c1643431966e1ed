"""The recipe of the built-in model."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tiny_trainings import CPU, TOKENIZER, TRANSFORMER

from randar_core.checkpoints.model import load_model
from randar_core.models.llamagen import LlamaGenTokenizer
from randar_core.models.randar import RandAR
from randar_core.procedural.render import Pictures
from randar_core.procedural.scene import FREE, PORTRAIT, UPRIGHT
from randar_core.training import builtin, run_state
from randar_core.training.fingerprint import hash_of
from randar_core.training.net2wider import widen
from randar_core.training.tokenizer_objective import TokenizerRecipe
from randar_core.training.train import MODEL_FILE


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


def test_the_decoder_of_the_recipe_can_grow_as_it_says_and_the_bundle_stays_small():
    tokenizer = LlamaGenTokenizer(builtin.TOKENIZER)
    for each in builtin.DECODER_ROUNDS:
        changes = {"decoder_multipliers": each.decoder_multipliers, "margin": each.margin}
        config = replace(tokenizer.config, **{name: value for name, value in changes.items() if value is not None})
        wider = LlamaGenTokenizer(config)
        widen(wider, tokenizer, 0)  # raises where a level isn't a whole number of times as wide
        tokenizer = wider
    networks = tokenizer, RandAR(builtin.TRANSFORMER)
    assert 2 * sum(each.numel() for network in networks for each in network.parameters()) < 16 * 2**20  # in bfloat16


def test_the_recipe_goes_on_where_it_was_killed(tmp_path, monkeypatch):
    small = {"steps": 4, "batch": 2, "warmup": 1}
    pictures = replace(builtin.TOKENIZER_PICTURES, count=8, size=16)
    network = replace(TRANSFORMER, classes=len(builtin.CLASSES), codebook_size=8, grid=8)
    for name, value in {
        "TOKENIZER_PICTURES": pictures,
        "TOKENIZER": TOKENIZER,
        "TOKENIZER_LOOP": replace(builtin.TOKENIZER_LOOP, **small),
        "DECODER_ROUNDS": tuple(
            replace(each, pictures=replace(each.pictures, count=8, size=16), loop=replace(each.loop, **small), **grown)
            for each, grown in zip(builtin.DECODER_ROUNDS, ({"decoder_multipliers": (2, 4)},), strict=True)
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
        "TOKENIZER_RECIPE": TokenizerRecipe(taught=2),
    }.items():
        monkeypatch.setattr(builtin, name, value)
    whole = builtin.train_builtin(tmp_path / "whole", CPU)

    saved = run_state.save
    seen = []

    def kill_in_the_second_round(state, path):
        seen.append(path.parent.name)
        if path.parent.name == "decoder-2" and seen.count("decoder-2") == 1:
            raise KeyboardInterrupt
        saved(state, path)

    monkeypatch.setattr(run_state, "save", kill_in_the_second_round)
    with pytest.raises(KeyboardInterrupt):
        builtin.train_builtin(tmp_path / "killed", CPU)
    again = builtin.train_builtin(tmp_path / "killed", CPU, resume=True)
    assert seen.count("tokenizer") == seen.count("decoder-1") == 1
    setting = run_state.load(tmp_path / "killed" / "decoder-2" / "checkpoint.pt").setting
    first = load_model(tmp_path / "killed" / "decoder-1" / MODEL_FILE).transformer
    assert setting["start"] == hash_of(first.state_dict())
    assert setting["tokens"]["landscapes_seed"] == builtin.TRANSFORMER_ROUNDS[1].pictures.seed
    last = run_state.load(tmp_path / "killed" / f"decoder-{len(builtin.TRANSFORMER_ROUNDS)}" / "checkpoint.pt").setting
    often = dict(zip(builtin.CLASSES, last["oversample"], strict=True))
    assert often == dict.fromkeys(builtin.CLASSES, 1) | dict(builtin.TRANSFORMER_ROUNDS[-1].oversample)
    weights, expected = load_file(again), load_file(whole)
    assert weights.keys() == expected.keys() and all(torch.equal(weights[key], expected[key]) for key in expected)
    assert load_model(again).tokenizer.config == replace(TOKENIZER, decoder_multipliers=(2, 4), margin=1)
