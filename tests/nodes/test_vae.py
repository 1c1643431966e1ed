"""The tokenizer as a VAE."""

import pytest
import torch


def test_ids_come_back_exactly_from_a_latent(model):
    ids = torch.arange(32).view(2, 4, 4)
    assert model.vae.ids(model.vae.vectors(ids)).equal(ids)


def test_a_flipped_latent_decodes_to_a_picture(model):
    vectors = model.vae.vectors(torch.arange(16).view(1, 4, 4))
    decoded = model.vae.decode(vectors.flip(3))
    assert decoded.shape == (1, 16, 16, 3) and 0 <= decoded.min() and decoded.max() <= 1


def test_alpha_is_left_out_and_grey_is_taken(model, model_picture):
    alpha = torch.cat([model_picture, torch.rand_like(model_picture[..., :1])], -1)
    assert model.vae.encode(alpha).equal(model.vae.encode(model_picture))
    assert model.vae.encode(model_picture[..., :1]).shape == (1, 4, 4, 4)


def test_odd_sizes_are_cropped_around_the_middle(model, model_picture):
    padded = torch.nn.functional.pad(model_picture, (0, 0, 1, 2, 1, 1))
    assert model.vae.encode(padded).equal(model.vae.encode(model_picture))


def test_a_picture_below_a_cell_is_refused(model):
    with pytest.raises(ValueError, match=r"1×3 pixels .* needs 4×4 at least"):
        model.vae.encode(torch.zeros(1, 3, 1, 3))


def test_a_latent_of_another_kind_cannot_be_decoded(model):
    with pytest.raises(ValueError, match="comes from another kind of model"):
        model.vae.decode(torch.zeros(1, 16, 8, 8))


def test_tiles_cover_the_whole_picture(model, model_picture):
    wide = model_picture.repeat(1, 2, 3, 1)
    latent = model.vae.encode_tiled(wide, tile_x=16, tile_y=16, overlap=4, tile_t=64, overlap_t=8)
    assert latent.shape == (1, 4, 8, 12) and model.vae.ids(latent).max() < 32
    decoded = model.vae.decode_tiled(latent, tile_x=4, tile_y=4, overlap=1, tile_t=None, overlap_t=None)
    assert decoded.shape == wide.shape and decoded.isfinite().all()
    assert model.vae.decode_tiled(latent, tile_x=99, tile_y=99, overlap=0).allclose(model.vae.decode(latent), atol=1e-4)


def test_tiles_overlap_alike_in_a_picture_that_is_narrower_than_they(model, monkeypatch):
    """The narrow side takes no part in it: with less overlap along the other one, seams would show."""
    import comfy.utils

    overlaps, scale = [], comfy.utils.tiled_scale

    def tiled_scale(samples, function, tile_x, tile_y, overlap, *rest, **more):
        overlaps.append(overlap)
        return scale(samples, function, tile_x, tile_y, overlap, *rest, **more)

    monkeypatch.setattr(comfy.utils, "tiled_scale", tiled_scale)
    strip = model.vae.vectors(torch.zeros(1, 1, 12, dtype=torch.long))
    model.vae.decode_tiled(strip, tile_x=4, tile_y=4, overlap=2)
    model.vae.encode_tiled(torch.rand(1, 4, 48, 3), tile_x=16, tile_y=16, overlap=8)
    assert overlaps == [2, 8]


def test_an_overlap_as_large_as_the_tile_still_ends(model, model_picture):
    assert model.vae.encode_tiled(model_picture.repeat(1, 2, 2, 1), tile_x=16, tile_y=16, overlap=64).shape == (
        1,
        4,
        8,
        8,
    )
