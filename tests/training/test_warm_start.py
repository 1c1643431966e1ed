"""A training that begins with trained weights."""

import pytest
import torch

from randar_core.training.optimizers import make_optimizers
from randar_core.training.settings import LoopSetting
from randar_core.training.transformer import TRAINABLE, initialise, objective_of
from randar_core.training.warm_start import WarmStart, begin_with

ORDER = torch.stack([torch.randperm(9, generator=torch.Generator().manual_seed(i)) for i in range(4)])
BATCH = {"classes": torch.tensor([0, 1, 2, 3]), "tokens": ORDER % 8, "order": ORDER}  # 3 is the null class


def initialised(family: str, seed: int, layers: int = 2, classes: int = 3) -> torch.nn.Module:
    """A model whose every weight says something."""
    of = TRAINABLE[family]
    model = of.network(of.config(width=16, layers=layers, heads=2, codebook_size=8, classes=classes, grid=3))
    initialise(model, seed)
    output = model.get_parameter(model.traits.learning.output)
    torch.nn.init.normal_(output, generator=torch.Generator().manual_seed(seed))
    return model


@pytest.mark.parametrize("family", TRAINABLE)
def test_a_grown_transformer_begins_as_the_smaller_one_and_learns_in_its_new_layers(family):
    small, large = initialised(family, 0, layers=2), initialised(family, 1, layers=6)
    begin_with(large, "abc", WarmStart(small, "abc"))
    expected, found = (objective_of(model, 0)(BATCH, 0)[0] for model in (small, large))
    assert found == expected
    objective, batch = objective_of(large, 0), BATCH
    before = {name: weight.clone() for name, weight in large.named_parameters()}
    optimizers = make_optimizers(large, LoopSetting(2, 4, 0.01, 0, 0.0, optimizer="muon"))
    for step in range(2):  # in the first one only what adds to the stream has a gradient
        loss = objective(batch, step)[0]
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
    for name, weight in large.named_parameters():
        assert weight.isfinite().all() and not torch.equal(weight, before[name]), name


@pytest.mark.parametrize("family", TRAINABLE)
@pytest.mark.parametrize("names", [["new", "c", "other", "a"], ["c", "new"]])
@pytest.mark.parametrize("layers", [2, 4])
def test_classes_are_known_by_their_names_and_new_ones_are_as_initialised(family, names, layers):
    before = ["a", "b", "c"]
    trained, model = initialised(family, 0), initialised(family, 1, layers=layers, classes=len(names))
    own = model.class_embedding(torch.arange(len(names) + 1))
    begin_with(model, names, WarmStart(trained, before))
    found, learnt = model.class_embedding(torch.arange(len(names) + 1)), trained.class_embedding(torch.arange(4))
    expected = [learnt[before.index(name)] if name in before else own[row] for row, name in enumerate(names)]
    assert torch.equal(found, torch.stack([*expected, learnt[3]]))
    known = {name: weight for name, weight in trained.state_dict().items() if name != model.traits.learning.classes}
    assert all(torch.equal(model.state_dict()[name], weight) for name, weight in known.items())
    tokens = torch.stack([ORDER[0] % 8])
    if family == "arpg":  # they lie in the table of the classes
        assert torch.equal(model.embed(tokens, None), trained.embed(tokens, None))
        assert torch.equal(model.mask_token(tokens.device), trained.mask_token(tokens.device))


def test_a_model_begins_with_one_of_its_own_family():
    randar, arpg = initialised("randar", 0), initialised("arpg", 0)
    with pytest.raises(ValueError, match="is of the family ARPG, the one to be trained of RandAR"):
        begin_with(randar, "abc", WarmStart(arpg, "abc"))
