"""Feature Map and Feature Match."""

import pytest
import torch


def picture(count: int = 1, height: int = 20, width: int = 28) -> torch.Tensor:
    return torch.rand(count, height, width, 3, generator=torch.Generator().manual_seed(count))


def test_a_feature_map_has_the_size_of_the_picture_and_three_colours(pack, model):
    (found,) = pack.run("RandARFeatureMap", model=model, image=picture(2))
    assert found.shape == (2, 20, 28, 3) and found.min() >= 0 and found.max() <= 1
    assert len(found.reshape(-1, 3).unique(dim=0)) > 8


def test_a_part_is_found_in_the_picture_that_it_was_marked_in(pack, model):
    mask = torch.zeros(1, 16, 16)
    mask[:, :8, :8] = 1
    image = picture(1, 16, 16)
    found, heat = pack.run("RandARFeatureMatch", model=model, image=image, mask=mask, target=image)
    assert found.shape == (1, 16, 16) and heat.shape == (1, 16, 16, 3)
    assert torch.equal(found, mask)


def test_fewer_pictures_and_masks_than_targets_repeat(pack, model):
    mask = torch.zeros(10, 14)
    mask[2:4, 3:5] = 1
    found, _ = pack.run("RandARFeatureMatch", model=model, image=picture(1), mask=mask, target=picture(3, 12, 30))
    assert found.shape == (3, 12, 30)


def test_what_can_not_be_matched_is_said_in_words(pack, model):
    with pytest.raises(ValueError, match="Nothing is marked"):
        pack.run("RandARFeatureMatch", model=model, image=picture(), mask=torch.zeros(1, 8, 8), target=picture())
    with pytest.raises(ValueError, match="layer 9"):
        pack.run("RandARFeatureMap", model=model, image=picture(), layer=9)
    with pytest.raises(ValueError, match="target"):
        pack.run(
            "RandARFeatureMatch", model=model, image=picture(), mask=torch.ones(8, 8), target=picture() * torch.nan
        )
