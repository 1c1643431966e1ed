"""Two-sided features: what each cell has seen, and what is found by them."""

import pytest
import torch
from tiny_tasks import CODES, GRID, classes, random_ids, randomised

from randar_core.decoding.conditions import Condition, Prompt, PromptBatch
from randar_core.models.arpg import ARPG, ARPGConfig
from randar_core.models.lpd import LPD, LPDConfig
from randar_core.models.rar import RAR, RARConfig
from randar_core.tasks.features import default_layer, feature_map, features, match


@pytest.fixture(params=["randar", "lpd", "arpg"])
def reader(request, model):
    if request.param == "lpd":
        return randomised(LPD(LPDConfig(16, 2, 2, CODES, 3, GRID)), 0.3)
    if request.param == "arpg":
        return randomised(ARPG(ARPGConfig(16, 4, 2, CODES, 3, GRID)), 0.3)
    return model


def test_the_second_pass_has_seen_every_token_and_the_first_only_those_before(reader):
    ids, cells = random_ids(1, GRID, GRID), GRID**2
    plain = {passes: features(reader, ids, layer=2, passes=passes).flatten(0, 2) for passes in (1, 2)}
    seen = torch.zeros(cells, cells, dtype=torch.bool)  # [changed, cell]: whether the one-sided feature changed
    for changed in range(cells):
        other = ids.clone()
        other.view(-1)[changed] = (other.view(-1)[changed] + 1) % CODES
        moved = (features(reader, other, layer=2).flatten(0, 2) - plain[2]).abs().amax(1)
        assert (moved > 1e-6).all()
        seen[changed] = (features(reader, other, layer=2, passes=1).flatten(0, 2) - plain[1]).abs().amax(1) > 1e-6
    # Along the order, a token changes itself and all after it, and nothing before: so many each, from 1 to all.
    assert sorted(seen.sum(1).tolist()) == list(range(1, cells + 1))


def test_the_first_pass_is_the_sequence_of_decoding(model):
    """The hidden state after the last layer, of one position more, gives the logits of the teacher-forced pass."""
    ids, order = random_ids(2, GRID, GRID).flatten(1), torch.randperm(GRID**2).expand(2, -1)
    condition = model.class_embedding(classes(2))
    x, rope = model.interleaved(condition, ids, order, None)
    expected = model(condition, ids, order)
    torch.testing.assert_close(model.head(model.blocks(x, rope)[:, 1::2]), expected)
    states = model.hidden_states(condition, ids, order, model.config.layers)
    torch.testing.assert_close(states, model.blocks(x, rope)[:, 2::2])


def test_features_depend_on_the_class_and_on_the_layer_and_not_on_the_batch(reader):
    ids = random_ids(3, GRID, GRID)
    null, other = features(reader, ids, layer=1), features(reader, ids, layer=1, prompts=classes(3))
    assert null.shape == (3, GRID, GRID, 16) and null.dtype == torch.float32
    assert not torch.allclose(null, other)
    assert not torch.allclose(null, features(reader, ids, layer=2))
    torch.testing.assert_close(features(reader, ids[1:2], layer=1)[0], null[1])


def test_orders_are_averaged(model):
    ids = random_ids(1, GRID, GRID)
    one, two = features(model, ids, orders=1), features(model, ids, orders=2)
    second = 2 * two - one
    assert not torch.allclose(one, second)
    assert torch.equal(features(model, ids, orders=2), two)
    assert not torch.equal(features(model, ids, seed=1), one)


def test_layers_above_are_not_computed(model, monkeypatch):
    def fail(*arguments, **named):
        raise AssertionError("this layer was not asked for")

    monkeypatch.setattr(model.layers[1], "forward", fail)
    monkeypatch.setattr(model, "head", fail)
    features(model, random_ids(1, GRID, GRID), layer=1)


def test_what_features_can_not_be_read_of_is_said_in_words(model):
    ids = random_ids(1, GRID, GRID)
    with pytest.raises(ValueError, match="layer 3.*layers 1 to 2"):
        features(model, ids, layer=3)
    with pytest.raises(ValueError, match="3×4 cells.*reads 4×4"):
        features(model, ids[:, :, :3])
    with pytest.raises(ValueError, match=f"0…{CODES - 1}"):
        features(model, ids + CODES)
    with pytest.raises(ValueError, match="RAR has no two-sided features"):
        features(RAR(RARConfig(16, 1, 2, CODES, 3, GRID, mlp_width=32)), ids)
    half = Prompt((Condition.of(0),), (torch.tensor([[0.0, 1.0]]),))
    with pytest.raises(ValueError, match="not under regions"):
        features(model, ids, prompts=PromptBatch((half,)))
    with pytest.raises(ValueError, match="0 orders"):
        features(model, ids, orders=0)
    assert default_layer(model) in (1, 2)


def test_alike_cells_have_one_colour_in_all_pictures():
    kinds = torch.tensor([[0, 0, 1, 1], [2, 2, 1, 1]])
    directions = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    colours = feature_map(torch.stack([directions[kinds], directions[kinds.flip(1)]]))
    assert colours.shape == (2, 3, 2, 4) and colours.min() >= 0 and colours.max() <= 1
    torch.testing.assert_close(colours[0], colours[1].flip(2))
    assert len(colours.permute(0, 2, 3, 1).reshape(-1, 3).unique(dim=0)) == 3


def test_a_part_is_found_in_another_picture():
    kinds = torch.tensor([[0, 0, 1, 1], [2, 2, 1, 1]])
    directions = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    noise = 0.05 * torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(1))
    found = match(directions[kinds], kinds == 1, directions[kinds.flip(1)] + noise)
    assert torch.equal(found.mask, kinds.flip(1) == 1)
    assert found.similarity[found.mask].min() > found.similarity[~found.mask].max()
    with pytest.raises(ValueError, match="Nothing is marked"):
        match(directions[kinds], kinds < 0, directions[kinds])
