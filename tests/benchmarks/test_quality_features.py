"""The section on features: parts are those that are drawn, all layers are read at once, probe and matches are right."""

import json

import numpy as np
import pytest
import torch
from quality.bench import EVALUATION_PICTURES
from quality.features import (
    FOLDS,
    PARTNERS,
    best_layer,
    by_cell,
    cell_parts,
    counts_of,
    gain_of,
    layer_states,
    matches,
    pixel_parts,
    probe,
    verdict,
)
from quality.run import RESULTS
from tiny_tasks import CODES, GRID, random_ids, randomised

from randar_core.decoding.seeding import generator_for
from randar_core.models.randar import RandAR, RandARConfig
from randar_core.procedural.render import picture_with_mask
from randar_core.procedural.scene import PORTRAIT
from randar_core.procedural.shapes import BODY, CLASSES, SHADE, SHAPES
from randar_core.tasks.features import DEPTH, features


@pytest.mark.parametrize("label", range(len(CLASSES)), ids=CLASSES)
def test_parts_are_those_of_the_picture(label):
    pixels, mask, _ = picture_with_mask(EVALUATION_PICTURES, label, size=128, bounds=PORTRAIT)
    parts = pixel_parts(label, 128).numpy()
    assert np.array_equal(parts > 0, mask)
    roles = {role for _, role in SHAPES[label].parts(*np.zeros((2, 1, 1), np.float32))}
    assert set(np.unique(parts)) == {0} | {1 + label * (SHADE + 1) + role for role in roles}
    # Colours of two parts differ more than light makes one of them differ.
    colours = [np.median(pixels[parts == part], axis=0) for part in np.unique(parts)]
    assert all(np.abs(a - b).sum() > 20 for i, a in enumerate(colours) for b in colours[:i])


def test_a_cell_shows_the_part_of_most_of_its_pixels():
    circle = cell_parts(0, 128, 8).view(16, 16)
    assert circle.unique().tolist() == [0, 1 + BODY] and 0.2 < (circle > 0).float().mean() < 0.6
    assert torch.equal(cell_parts(0, 128, 1).view(128, 128), pixel_parts(0, 128))


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
    """Parts `[120, 16]` of two roles a class, and features that tell them apart."""
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(120) % len(CLASSES)
    role = torch.randint(3, (120, 16), generator=generator)
    parts = torch.where(role == 0, 0, label[:, None] * (SHADE + 1) + role)
    directions = torch.randn(61, 24, generator=generator)
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
    parts, told = parts_and_features(0.1)
    assert matches(told, parts).shape == (120, PARTNERS, 16)
    counts = counts_of(told, parts)
    right, points = counts["match"]
    assert right.sum() > 0.95 * points.sum() and points.sum() == PARTNERS * int((parts > 0).sum())
    # Moons, flowers, houses, trees and fish.
    assert (counts["parts"][1] > 0).sum() == 50


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
