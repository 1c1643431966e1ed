"""Which weights learn how."""

from dataclasses import replace

import pytest
import torch
from tiny_trainings import SETTING, TOKENIZER, TRANSFORMER

from randar_core.models.llamagen import LlamaGenTokenizer
from randar_core.models.randar import RandAR
from randar_core.training.muon import Muon
from randar_core.training.optimizers import learning_rate, make_optimizers
from randar_core.training.settings import LoopSetting


def test_the_rate_warms_up_and_falls_to_zero():
    setting = LoopSetting(steps=100, batch=1, learning_rate=1.0, warmup=10)
    rates = [learning_rate(setting, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert 0.9 < max(rates) <= 1 and rates.index(max(rates)) == 9
    assert rates[-1] < 1e-3 and rates[9:] == sorted(rates[9:], reverse=True)


def test_only_matrices_decay():
    decoder = RandAR(TRANSFORMER)
    groups = make_optimizers(decoder, SETTING)[0].param_groups
    decaying = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    names = {name for name, p in decoder.named_parameters() if id(p) in decaying}
    assert names == {n for n, _ in decoder.named_parameters() if n.endswith((".wqkv.weight", ".wo.weight"))} | {
        "layers.0.feed_forward.w1.weight",
        "layers.0.feed_forward.w2.weight",
        "layers.0.feed_forward.w3.weight",
        "output.weight",
    }


def test_muon_takes_the_matrices_of_the_layers_and_adamw_the_rest():
    decoder = RandAR(TRANSFORMER)
    adamw, muon = make_optimizers(decoder, replace(SETTING, optimizer="muon"))
    assert isinstance(adamw, torch.optim.AdamW) and isinstance(muon, Muon)
    taken = [{id(p) for group in each.param_groups for p in group["params"]} for each in (adamw, muon)]
    names = {name for name, p in decoder.named_parameters() if id(p) in taken[1]}
    assert names == {f"layers.0.attention.{name}.weight" for name in ("wqkv", "wo")} | {
        f"layers.0.feed_forward.{name}.weight" for name in ("w1", "w2", "w3")
    }
    assert not taken[0] & taken[1] and len(taken[0] | taken[1]) == len(list(decoder.parameters()))


def test_an_optimizer_that_does_not_fit_is_named():
    with pytest.raises(ValueError, match="matrices of a transformer's layers"):
        make_optimizers(LlamaGenTokenizer(TOKENIZER), replace(SETTING, optimizer="muon"))
    with pytest.raises(ValueError, match="'sgd' is not known. There are: adamw, muon"):
        make_optimizers(RandAR(TRANSFORMER), replace(SETTING, optimizer="sgd"))
