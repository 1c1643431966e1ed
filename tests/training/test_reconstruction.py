"""The loss of a reconstruction."""

import pytest
import torch

from randar_core.training.reconstruction import border_weights, reconstruction_loss


def test_the_border_of_a_picture_weighs_more():
    weights = border_weights(10, 12, border=2, times=4)
    assert weights.mean() == pytest.approx(1) and weights[0, 5] / weights[5, 5] == pytest.approx(4)
    assert torch.equal(weights, weights.flip(0)) and torch.equal(weights, weights.flip(1))
    pixels = torch.zeros(1, 3, 16, 16)
    inside, outside = pixels.clone(), pixels.clone()
    inside[..., 4:8, 6:10], outside[..., :4, 6:10] = 0.5, 0.5
    lighter, heavier = (
        [reconstruction_loss(each, pixels, 0.0, weights).item() for each in (inside, outside)]
        for weights in (None, border_weights(16, 16, 3, 4.0))
    )
    assert lighter[0] == pytest.approx(lighter[1], rel=1e-5)
    assert heavier[0] < lighter[0] and heavier[1] > lighter[1]
    # Every side alike, steps between pixels too.
    error = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    turned = [
        reconstruction_loss(each, pixels, 1.0, border_weights(16, 16, 3, 4.0)) for each in (error, error.flip(2, 3))
    ]
    torch.testing.assert_close(*turned)
