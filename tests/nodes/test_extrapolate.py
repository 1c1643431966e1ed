"""Extrapolate."""

import pytest


@pytest.mark.parametrize("spatial_cfg", [1.0, 2.5])
def test_an_extrapolated_picture_is_twice_as_large(run, spatial_cfg):
    latent, confidence = run("RandARExtrapolate", factor=2, spatial_cfg=spatial_cfg, cfg=3.0)
    assert latent["samples"].shape == (1, 4, 8, 8) and confidence.shape == (1, 32, 32)
    assert (confidence > 0).all()


def test_a_boundary_of_minus_one_is_the_models_own(run):
    own, same, other = (run("RandARExtrapolate", factor=2, boundary=boundary)[0] for boundary in (-1, 2, 0))
    assert own["samples"].equal(same["samples"]) and not own["samples"].equal(other["samples"])


def test_a_given_picture_is_the_context(run, latent):
    large, confidence = run("RandARExtrapolate", factor=2, latent_image=latent)
    assert large["samples"][..., ::2, ::2].equal(latent["samples"])
    assert (confidence[:, ::8, ::8] == 1).all()


def test_an_extrapolated_picture_keeps_its_index_in_the_batch(run, latent):
    large, _ = run("RandARExtrapolate", factor=2, latent_image=latent | {"batch_index": [5, 2]})
    assert large["batch_index"] == [5, 2]
