"""The section on features: parts are those that are drawn, all layers are read at once, probe and matches are right."""

import json

import numpy as np
import pytest
import torch
from quality.features import (
    FOLDS,
    PARTNERS,
    CellParts,
    best_layer,
    by_cell,
    cell_parts,
    counts_of,
    counts_of_matches,
    gain_of,
    layer_states,
    matches,
    of_partners,
    parts_of,
    probe,
    verdict,
)
from quality.run import RESULTS
from tiny_tasks import CODES, GRID, random_ids, randomised

from randar_core.decoding.seeding import generator_for
from randar_core.models.randar import RandAR, RandARConfig
from randar_core.procedural.landscape.pictures import CLASSES
from randar_core.tasks.features import DEPTH, features


def test_a_cell_shows_the_part_of_most_of_its_pixels():
    castle = cell_parts(CLASSES.index("castle"), 128, 8)
    assert len(castle) == 256 and castle[0] == ("sky", 0)
    names = [name for name, _ in castle]
    assert 0.05 < names.count("castle") / 256 < 0.4 and {"sky", "hills"} <= set(names)
    assert len({piece for name, piece in castle if name == "castle"}) > 3
    assert all(piece == 0 for name, piece in castle if name != "castle")


def test_parts_are_numbered_over_all_pictures():
    parts = parts_of([[("sky", 0), ("house", 2), ("house", 1)], [("house", 2), ("hills", 0), ("sky", 0)]])
    assert parts.pieces.tolist() == [[0, 1, 2], [1, 3, 0]] and parts.kinds.tolist() == [[0, 1, 1], [1, 2, 0]]
    assert parts.things.tolist() == [[False, True, True], [True, False, False]]


def test_all_layers_are_read_as_features_reads_each():
    model = randomised(RandAR(RandARConfig(16, 3, 2, CODES, 3, GRID)), 0.3)
    ids, cells = random_ids(2, GRID, GRID), GRID**2
    order = torch.randperm(cells, generator=generator_for(0, "features", 0))
    states = layer_states(model, ids.flatten(1), torch.cat([order, order.flip(0)]))
    assert states.shape == (model.config.layers, 2, 2 * cells, model.config.width)
    for layer in range(model.config.layers):
        for passes, read in (
            (1, by_cell(states[:, :, :cells], order)),
            (2, by_cell(states[:, :, cells:], order.flip(0))),
        ):
            expected = features(model, ids, layer + 1, passes=passes).flatten(1, 2)
            torch.testing.assert_close(read[layer].float(), expected, atol=2e-3, rtol=2e-3)
    assert not any(block._forward_hooks for block in model.layers)


def parts_and_features(noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Parts `[120, 16]`, the first one common and two of each class, and features that tell them apart."""
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(120) % len(CLASSES)
    role = torch.randint(3, (120, 16), generator=generator)
    parts = torch.where(role == 0, 0, 2 * label[:, None] + role)
    directions = torch.randn(1 + 2 * len(CLASSES), 24, generator=generator)
    return parts, directions[parts] + noise * torch.randn(120, 16, 24, generator=generator)


def test_the_probe_learns_parts_and_finds_none_in_noise():
    parts, told = parts_and_features(0.3)
    assert (probe(told, parts) == parts).float().mean() > 0.99
    unrelated = torch.randn(told.shape, generator=torch.Generator().manual_seed(1))
    assert (probe(unrelated, parts) == parts).float().mean() < 0.4


def test_the_probe_has_not_seen_the_pictures_that_it_is_asked_about():
    """What is alike within a picture alone is of no use to it."""
    parts, _ = parts_and_features(0)
    shuffled = parts[torch.randperm(120, generator=torch.Generator().manual_seed(2))]
    own = torch.randn(120, 1, 24, generator=torch.Generator().manual_seed(3)).expand(-1, 16, -1)
    assert (probe(own, shuffled) == shuffled).float().mean() < 0.4
    fold = [(picture + picture // 12) % FOLDS for picture in range(120)]
    assert all({fold[i] for i in range(label, 120, 12)} == set(range(FOLDS)) for label in range(12))


def test_matches_are_right_where_parts_are_alike():
    pieces, told = parts_and_features(0.1)
    parts = CellParts(pieces, (pieces + 1) // 2, pieces > 0)
    assert matches(told).shape == (120, PARTNERS, 16)
    counts = counts_of(told, parts)
    for name, points in (("match", 120 * 16), ("parts", int((pieces > 0).sum()))):
        right, asked = counts[name]
        assert right.sum() > 0.95 * asked.sum() and 0.95 * PARTNERS * points < asked.sum() <= PARTNERS * points


def test_what_the_partner_does_not_show_is_not_asked():
    pieces = torch.zeros(120, 4, dtype=torch.long)
    pieces[0] = torch.tensor([0, 1, 1, 2])
    for partner in (12, 24, 36):
        pieces[partner] = torch.tensor([0, 0, 2, 2])
    assert of_partners(pieces)[0].tolist() == 3 * [[0, 0, 2, 2]]
    told = torch.nn.functional.one_hot(pieces, 4).float()
    right, asked = counts_of_matches(matches(told), CellParts(pieces, pieces, pieces > 0))["parts"]
    assert asked[0] == right[0] == PARTNERS  # the one cell of the piece 2


def test_a_gain_is_told_picture_by_picture():
    count, old = np.full(40, 100), np.arange(40) * 2
    gain = gain_of((old + 2 + np.arange(40) % 2, count), (old, count))
    assert gain[0] == pytest.approx(0.025) and 0.02 < gain[1] < gain[2] < 0.03
    assert [verdict(values) for values in (gain, (0.0, -0.1, 0.1), (-0.2, -0.3, -0.1))] == [
        "yes",
        "no difference shown",
        "**no**, worse",
    ]
    assert best_layer({"layers": [{"parts": [share]} for share in (0.2, 0.5, 0.4)]}) == 2


def test_features_are_read_by_default_at_the_best_layer_of_the_report():
    report = json.loads((RESULTS / "quality.json").read_text(encoding="utf-8"))
    records = report["sections"]["features"]
    assert round(DEPTH * len(records["two"]["layers"])) == best_layer(records["two"])
