"""A training that begins with trained weights."""

from dataclasses import replace

import pytest
import torch

from randar_core.models.arpg import ARPG, ARPGConfig
from randar_core.models.randar import RandAR, RandARConfig
from randar_core.training.optimizers import make_optimizers
from randar_core.training.settings import LoopSetting
from randar_core.training.transformer import TransformerObjective, initialise
from randar_core.training.warm_start import WarmStart, begin_with


def test_a_grown_transformer_begins_as_the_smaller_one_and_learns_in_its_new_layers():
    config = RandARConfig(width=16, layers=1, heads=2, codebook_size=8, classes=3, grid=3)
    small, large = RandAR(config), RandAR(replace(config, layers=3))
    initialise(small, 0)
    torch.nn.init.normal_(small.output.weight, generator=torch.Generator().manual_seed(0))
    initialise(large, 1)
    begin_with(large, "abc", WarmStart(small, "abc"))
    order = torch.stack([torch.randperm(9, generator=torch.Generator().manual_seed(i)) for i in range(4)])
    batch = {"classes": torch.tensor([0, 1, 2, 3]), "tokens": order % 8, "order": order}
    expected, found = (TransformerObjective(model)(batch, 0)[0] for model in (small, large))
    assert found == expected
    objective = TransformerObjective(large)
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


def test_only_a_model_of_a_family_that_grows_begins_with_one_of_its_own():
    randar = RandAR(RandARConfig(width=16, layers=2, heads=2, codebook_size=8, classes=3, grid=3))
    arpg = ARPG(ARPGConfig(width=16, layers=2, heads=2, codebook_size=8, classes=3, grid=3))
    with pytest.raises(ValueError, match="The family ARPG can't begin with"):
        begin_with(arpg, "abc", WarmStart(arpg, "abc"))
    with pytest.raises(ValueError, match="is of the family ARPG, the one to be trained of RandAR"):
        begin_with(randar, "abc", WarmStart(arpg, "abc"))
