"""What sample n of a training is."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_trainings import TOKENIZER

from randar_core.models.llamagen import LlamaGenTokenizer
from randar_core.procedural.render import Pictures
from randar_core.training.decoder_objective import DecoderObjective, DecoderRecipe
from randar_core.training.samples import ExchangedSamples, PixelSamples, Prefixes, TokenSamples, item_of
from randar_core.training.tokens import TokenSet


@pytest.mark.parametrize("batch", [1, 4])
def test_prefixes_cut_whole_batches_of_the_same_orders(batch):
    ids = torch.arange(90).reshape(10, 9)
    whole = TokenSamples(ids, torch.arange(10) % 3, null_class=3, seed=0)
    cut = replace(whole, prefixes=Prefixes(cells=4, whole_every=3), batch=batch)
    for number in range(12 * batch):
        expected, got = whole[number], cut[number]
        cells = 9 if number // batch % 3 == 2 else 4
        assert got["order"].tolist() == expected["order"][:cells].tolist()
        assert got["tokens"].tolist() == expected["tokens"][:cells].tolist()
        assert got["classes"] == expected["classes"]


def test_every_picture_comes_once_an_epoch_in_an_order_of_its_own():
    epochs = [[item_of(number, 7, seed=0) for number in range(start, start + 7)] for start in (0, 7)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(7))] * 2
    assert epochs[0] != epochs[1]


def test_a_sample_has_its_own_order_and_at_times_no_class():
    ids = torch.arange(90).reshape(10, 9)
    samples = TokenSamples(ids, torch.arange(10) % 3, null_class=3, seed=0)
    drawn = [samples[number] for number in range(400)]
    assert torch.equal(drawn[7]["order"], samples[7]["order"])
    assert len({tuple(sample["order"].tolist()) for sample in drawn}) > 390
    for sample in drawn[:20]:
        assert torch.equal(sample["tokens"] % 9, sample["order"])
    assert 0.05 < np.mean([int(sample["classes"]) == 3 for sample in drawn]) < 0.16


def test_pictures_of_oversampled_classes_come_more_often_but_not_without_their_class():
    ids = torch.arange(6).repeat_interleave(4).reshape(6, 4)
    samples = TokenSamples(ids, torch.arange(6) % 3, null_class=3, seed=0, oversample=torch.tensor([1, 4, 1]))
    epoch = [samples[number] for number in range(12)]
    assert sorted(int(sample["tokens"][0]) for sample in epoch) == [0, 1, 1, 1, 1, 2, 3, 4, 4, 4, 4, 5]
    drawn = [samples[number] for number in range(6000)]
    without = [int(sample["tokens"][0]) % 3 for sample in drawn if sample["classes"] == 3]
    assert len(without) == pytest.approx(0.1 * 6000 / 2, rel=0.25)  # 6 of 12 samples stand for a class each
    for label in range(3):
        assert without.count(label) == pytest.approx(len(without) / 3, rel=0.3)


def test_exchanged_codes_are_near_ones_and_depend_on_the_sample_alone():
    torch.manual_seed(0)
    objective = DecoderObjective(LlamaGenTokenizer(TOKENIZER), DecoderRecipe(exchanged=0.5))
    codes = objective.model.quantize.rows(torch.arange(TOKENIZER.codebook_size))
    assert torch.equal(objective.ranked[:, 0], torch.arange(TOKENIZER.codebook_size))
    distances = (codes[objective.ranked] - codes[:, None]).norm(dim=-1)
    assert (distances.diff(dim=1) >= -1e-5).all()
    pictures = PixelSamples(Pictures(0, 10, size=64), 0)
    samples, again = (ExchangedSamples(pictures, 8, 0.5, nearest=5, unchanged_every=4) for _ in range(2))
    shares, counts = [], torch.zeros(6)
    for number in (7, 3, 12, 0, *range(20, 40)):
        ranks = samples[number]["ranks"]
        assert ranks.shape == (8, 8) and 0 <= ranks.min() and ranks.max() <= 5
        assert torch.equal(ranks, again[number]["ranks"])
        assert number % 4 or not ranks.any()
        counts += torch.bincount(ranks.flatten(), minlength=6)
        shares.append((ranks > 0).float().mean().item())
    assert counts[1] > counts[2:].max()
    assert 0.1 < max(shares) < 0.7
    assert not ExchangedSamples(pictures, 8, 0.0, nearest=5, unchanged_every=4)[7]["ranks"].any()


def test_tokens_keep_their_labels():
    tokens = TokenSet(torch.zeros(2, 4, dtype=torch.int32), torch.tensor([1, 0]), {})
    samples = TokenSamples(tokens.ids, tokens.labels, null_class=2, seed=0, class_dropout=0.0)
    assert sorted(int(samples[number]["classes"]) for number in range(2)) == [0, 1]
