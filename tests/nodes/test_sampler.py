"""Sampler, orders and guidance."""

import pytest
import torch

SEED_MAX = 0xFFFFFFFFFFFFFFFF


def test_a_picture_is_drawn(sample, model):
    latent, confidence = sample()
    assert latent["samples"].shape == (1, 4, 4, 4) and latent["samples"].dtype == torch.float32
    assert confidence.shape == (1, 16, 16) and 0 < confidence.min() and confidence.max() <= 1
    assert model.vae.decode(latent["samples"]).shape == (1, 16, 16, 3)


def test_a_seed_gives_the_same_picture_again_and_another_one_another(sample):
    assert sample(seed=3)[0]["samples"].equal(sample(seed=3)[0]["samples"])
    assert not sample(seed=3)[0]["samples"].equal(sample(seed=4)[0]["samples"])


@pytest.mark.parametrize("seed", [0, SEED_MAX])
def test_seeds_at_both_ends_work(sample, seed):
    assert sample(seed=seed)[0]["samples"].isfinite().all()


def test_a_picture_does_not_depend_on_the_batch(sample):
    batch = sample(batch_size=3)[0]["samples"]
    assert batch[:1].equal(sample()[0]["samples"])
    assert not batch[0].equal(batch[1])


def test_batch_index_picks_a_picture_out_of_a_batch(sample):
    third = sample(latent_image={"samples": torch.zeros(1, 4, 8, 8), "batch_index": [2]})[0]
    assert third["samples"].equal(sample(batch_size=3)[0]["samples"][2:])
    assert third["batch_index"] == [2]


def test_an_empty_latent_only_sets_the_batch(sample):
    empty = {"samples": torch.zeros(2, 4, 64, 64), "downscale_ratio_spacial": 8}
    latent, _ = sample(latent_image=empty, batch_size=5)
    assert latent["samples"].equal(sample(batch_size=2)[0]["samples"])
    assert "downscale_ratio_spacial" not in latent and "downscale_ratio_spacial" in empty


def test_a_latent_without_a_mask_is_redrawn_whole(sample, model, model_picture):
    latent, _ = sample(latent_image={"samples": model.vae.encode(model_picture)})
    assert latent["samples"].equal(sample()[0]["samples"])


@pytest.mark.parametrize("shape", [(1, 1, 16, 16), (1, 16, 16), (1, 1, 4, 4), (1, 1, 64, 64), (1, 1, 50, 37)])
def test_only_what_the_mask_covers_is_redrawn(sample, model, model_picture, shape):
    mask = torch.zeros(shape)
    mask[..., : shape[-1] // 2] = 1
    before = model.vae.encode(model_picture)
    latent, confidence = sample(latent_image={"samples": before, "noise_mask": mask})
    touched = 2 if shape[-1] % 4 == 0 else 3 if shape[-1] // 2 * 4 > shape[-1] * 2 else 2
    assert latent["samples"][..., touched:].equal(before[..., touched:])
    assert (confidence[..., touched * 4 :] == 1).all() and (confidence[..., :8] < 1).all()
    assert latent["noise_mask"] is mask


def test_each_picture_has_its_own_mask(sample, model, model_picture):
    before = model.vae.encode(model_picture.repeat(2, 1, 1, 1))
    masks = torch.zeros(2, 1, 16, 16)
    masks[1] = 1
    after = sample(latent_image={"samples": before, "noise_mask": masks})[0]["samples"]
    assert after[0].equal(before[0]) and not after[1].equal(before[1])


def test_a_mask_that_covers_nothing_changes_nothing(sample, model, model_picture):
    before = model.vae.encode(model_picture)
    latent, confidence = sample(latent_image={"samples": before, "noise_mask": torch.zeros(1, 64, 64)})
    assert latent["samples"].equal(before) and (confidence == 1).all()


def test_denoise_keeps_the_most_confident_share(sample, model, model_picture):
    before = model.vae.encode(model_picture)
    confidence = sample(latent_image={"samples": before}, denoise=0.25)[1]
    assert (confidence < 1).float().mean() == 0.25
    assert sample(latent_image={"samples": before}, denoise=0.0)[0]["samples"].equal(before)


def test_several_classes_redraw_one_picture_each_way(pack, sample, model, model_picture):
    two = pack.run("RandARClassList", class_list="circle, star")[0]
    assert len(sample(classes=two, latent_image={"samples": model.vae.encode(model_picture)})[0]["samples"]) == 2


def test_the_latent_that_comes_in_is_left_alone(sample, model, model_picture):
    given = {"samples": model.vae.encode(model_picture), "noise_mask": torch.ones(1, 1, 16, 16)}
    before = given["samples"].clone()
    sample(latent_image=given)
    assert given["samples"].equal(before) and set(given) == {"samples", "noise_mask"}


def test_a_latent_of_another_kind_of_model_is_refused(sample):
    with pytest.raises(ValueError, match="comes from another kind of model"):
        sample(latent_image={"samples": torch.ones(1, 16, 4, 4)})


def test_a_latent_of_another_grid_is_refused_with_both_sizes(sample):
    with pytest.raises(ValueError, match=r"8×6 cells .* 32×24 pixels; the model draws 4×4 cells, 16×16 pixels"):
        sample(latent_image={"samples": torch.ones(1, 4, 6, 8)})


def test_temperature_and_filters_reach_the_draw(sample):
    assert (
        sample(top_k=1, seed=1)[0]["samples"].equal(sample(top_k=1, seed=2, temperature=3.0)[0]["samples"]) is not None
    )
    likeliest = sample(top_k=1, cfg=1.0)[1]
    assert likeliest.mean() > sample(temperature=5.0, cfg=1.0)[1].mean()
    assert not sample(top_p=0.1)[0]["samples"].equal(sample()[0]["samples"])


def test_an_order_of_ones_own_changes_the_picture(pack, sample):
    raster = pack.run("RandAROrder", order="raster")[0]
    assert not sample(order=raster)[0]["samples"].equal(sample()[0]["samples"])


@pytest.mark.parametrize("channels", [(), (1,), (3,), (4,)], ids=["mask", "grey", "colours", "alpha"])
def test_what_is_painted_bright_is_drawn_first(pack, model, sample, monkeypatch, channels):
    mask = torch.zeros(1, 16, 16, *channels)
    mask[:, 8:] = 1
    states = []
    monkeypatch.setattr(
        pack.module("nodes.progress").Progress, "__call__", lambda self, decoded: states.append(decoded.known.clone())
    )
    sample(order=pack.run("RandARPaintedOrder", mask=mask)[0], steps=16)
    assert states[7][0, 2:].all() and not states[7][0, :2].any()


def test_a_mask_with_a_channel_is_painted_like_one_without(pack):
    mask = torch.rand(1, 16, 12)
    plain, channel = (pack.run("RandARPaintedOrder", mask=each)[0] for each in (mask, mask.unsqueeze(1)))
    assert torch.equal(plain.resized(8, 8), channel.resized(8, 8))


@pytest.mark.parametrize("shape", [(2, 8, 8), (2, 8, 8, 3)], ids=["masks", "pictures"])
def test_several_painted_masks_are_refused(pack, shape):
    with pytest.raises(ValueError, match="found a batch of 2"):
        pack.run("RandARPaintedOrder", mask=torch.zeros(shape))


def test_guidance_takes_the_place_of_cfg(pack, sample):
    same = pack.run("RandARGuidance", course="linear", start=1.0, end=2.0)[0]
    constant = pack.run("RandARGuidance", course="constant", start=1.0, end=9.0)[0]
    assert sample(guidance=same, cfg=7.0)[0]["samples"].equal(sample(cfg=2.0)[0]["samples"])
    assert not sample(guidance=constant)[0]["samples"].equal(sample()[0]["samples"])


@pytest.fixture
def rar(pack, tiny):
    """A tiny RAR model, as `model` is a tiny RandAR."""
    bundle, releases = pack.module("randar_core.checkpoints.bundle"), pack.module("randar_core.checkpoints.releases")
    family, whole = pack.module("randar_core.models.rar"), pack.module("randar_core.checkpoints.model").load_model(tiny)
    decoder = family.RAR(family.RARConfig(32, 2, 4, mlp_width=64, codebook_size=32, classes=3, grid=4))
    generator = torch.Generator().manual_seed(0)
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, 0, 0.2, generator)
    defaults = releases.Defaults(guidance=8.0, guidance_power=1.2, order="raster", steps=16)
    path = pack.models / "rar.safetensors"
    bundle.save_bundle(path, decoder, whole.tokenizer, whole.class_names, defaults)
    yield pack.run("RandARLoadModel", model_name=path.name)[0]
    path.unlink()


def test_the_same_nodes_serve_rar(pack, rar, star, reports, model_picture):
    latent, _ = pack.run("RandARSampler", model=rar, classes=star, seed=1, steps=4, cfg=8.0)
    assert latent["samples"].shape == (1, 4, 4, 4) and reports[-1][:2] == (16, 16)
    course = pack.run("RandARGuidance", course="cosine", start=1.0, end=8.0, power=1.2)[0]
    same, _ = pack.run("RandARSampler", model=rar, classes=star, seed=1, steps=4, cfg=1.0, guidance=course)
    assert same["samples"].equal(latent["samples"])
    given = {
        "samples": rar.vae.encode(model_picture),
        "noise_mask": torch.zeros(1, 16, 16).index_fill(1, torch.arange(8, 16), 1),
    }
    completed, _ = pack.run("RandARSampler", model=rar, classes=star, seed=1, steps=4, cfg=8.0, latent_image=given)
    assert completed["samples"][:, :, :2].equal(given["samples"][:, :, :2])


def test_rar_says_that_it_cannot_extrapolate(pack, rar, star):
    with pytest.raises(ValueError, match="can't extrapolate.*Take a RandAR model"):
        pack.run("RandARExtrapolate", model=rar, classes=star, seed=1, steps=4, cfg=2.0, factor=2)
