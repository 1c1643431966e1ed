"""Square crops around the masked regions of a picture."""

import torch
from tiny_tasks import (
    SIZE,
)

from randar_core.tasks.crops import crops_of, label_regions


def test_squares_that_would_coincide_become_one():
    mask = torch.zeros(1, 40, 60)
    mask[0, 3:6, 3:5] = mask[0, 3:6, 6:8] = 1
    assert len(crops_of(label_regions(mask > 0), 2, SIZE)) == 1


def test_a_chain_of_small_regions_is_drawn_about_as_finely_as_each_alone():
    mask = torch.zeros(1, 60, 60)
    mask[0, 30, ::2] = 1
    crops = crops_of(label_regions(mask > 0), 2, SIZE)
    assert len(crops) < 15 and all(crop.side <= 1.5 * SIZE for crop in crops)
    regions = [region for crop in crops for region in crop.regions]
    assert len(regions) == len(set(regions)) == 30


def test_a_square_has_the_context_that_fits():
    mask = torch.zeros(1, 30, 60)
    mask[0, 10:20, 28:38] = 1
    labels = label_regions(mask > 0)
    assert [(c.top, c.left, c.side) for c in crops_of(labels, 2, SIZE)] == [(5, 23, 20)]
    assert [(c.top, c.left, c.side) for c in crops_of(labels, 4, SIZE)] == [(-5, 13, 40)]
    assert [(c.top, c.left, c.side) for c in crops_of(labels, 9, SIZE)] == [(-15, 0, 60)]


def test_a_region_as_high_as_the_picture_has_context_beside_it_at_the_pictures_height():
    mask = torch.zeros(1, 30, 90)
    mask[0, :, 40:50] = 1
    assert [(c.top, c.left, c.side) for c in crops_of(label_regions(mask > 0), 2, SIZE)] == [(0, 30, 30)]
