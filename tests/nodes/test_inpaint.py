"""Inpaint."""

import pytest
import torch
import torch.nn.functional as F


def test_inpainting_leaves_every_pixel_outside_of_the_grown_mask(run, picture):
    mask = torch.zeros(1, 40, 53)
    mask[:, 10:20, 15:30] = 1
    image, latent, confidence = run("RandARInpaint", image=picture, mask=mask, grow_mask_by=3, seam=2)
    grown = F.max_pool2d(mask, 7, 1, 3)[0] > 0
    assert image.shape == picture.shape and image[0][~grown].equal(picture[0][~grown])
    assert not image[0][grown].equal(picture[0][grown])
    assert (confidence[0][~grown] == 1).all() and latent["samples"].shape[1:] == (4, 4, 4)


def test_an_empty_mask_gives_the_picture_back(run, picture):
    image, latent, confidence = run("RandARInpaint", image=picture, mask=torch.zeros(1, 40, 53))
    assert image.equal(picture) and (confidence == 1).all() and latent["samples"].isfinite().all()


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (40, 53), (16, 16), (600, 300)])
@pytest.mark.parametrize("nothing", [{"mask": 0.0}, {"mask": 1.0, "denoise": 0.0}], ids=["empty mask", "denoise 0"])
def test_where_nothing_is_repainted_the_latent_is_of_the_models_size(run, model, size, nothing, monkeypatch):
    encoded, encode = [], model.vae.encode_ids
    monkeypatch.setattr(model.vae, "encode_ids", lambda pixels: encoded.append(pixels.shape) or encode(pixels))
    pictures = torch.rand(2, *size, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.full((1, *size), nothing["mask"])
    image, latent, confidence = run("RandARInpaint", image=pictures, **(nothing | {"mask": mask}))
    assert image.equal(pictures) and (confidence == 1).all()
    assert encoded == [(2, 3, 16, 16)] and latent["samples"].shape == (2, 4, 4, 4)
    if size == (16, 16):
        assert latent["samples"].equal(model.vae.encode(pictures))


def test_alpha_is_kept(run, picture):
    alpha = torch.cat([picture, torch.rand(1, 40, 53, 1)], -1)
    mask = torch.zeros(1, 40, 53)
    mask[:, :8, :8] = 1
    assert run("RandARInpaint", image=alpha, mask=mask)[0][..., 3].equal(alpha[..., 3])


def test_one_picture_is_edited_towards_several_classes(pack, run, picture):
    three = pack.run("RandARClassList", class_list="circle, square, star")[0]
    image, *_ = run("RandARInpaint", classes=three, image=picture, mask=torch.ones(1, 40, 53), denoise=0.5)
    assert len(image) == 3


@pytest.mark.parametrize(
    "given", [("RandARInpaint", {"mask": torch.ones(1, 40, 53)}), ("RandAROutpaint", {"left": 9, "right": 4})]
)
def test_fewer_classes_than_pictures_take_turns(pack, run, picture, given):
    (node_id, inputs), four = given, picture.repeat(4, 1, 1, 1)
    sizes = {"top": 0, "bottom": 0} if node_id == "RandAROutpaint" else {}

    def drawn(class_list):
        chosen = pack.run("RandARClassList", class_list=class_list)[0]
        return run(node_id, classes=chosen, image=four, **inputs, **sizes)[1]["samples"]

    assert drawn("circle, star").equal(drawn("circle, star, circle, star"))
    with pytest.raises(ValueError, match="4 pictures don't match 5 classes"):
        drawn("circle, star, circle, star, square")


@pytest.mark.parametrize("shape", [(1, 64, 64), (64, 64), (2, 8, 8)])
def test_an_empty_mask_of_any_size_gives_the_picture_back(run, picture, shape):
    """Load Image gives 64×64 zeros for a picture without alpha."""
    image, _, confidence = run("RandARInpaint", image=picture, mask=torch.zeros(shape))
    assert image.equal(picture.expand_as(image)) and (confidence == 1).all()


def test_a_painted_mask_of_another_size_is_refused(run, picture):
    mask = F.pad(torch.ones(1, 8, 8), (0, 56, 0, 56))
    with pytest.raises(ValueError, match="The mask is 64×64, the picture is 53×40 pixels.*Scale or crop the mask"):
        run("RandARInpaint", image=picture, mask=mask)


def test_regions_of_one_picture_are_drawn_together_where_there_is_room(pack, run, picture, reports, monkeypatch):
    mask = torch.zeros(1, 40, 53)
    mask[:, 1:4, 1:4] = mask[:, 36:39, 1:4] = 1  # a cell each
    together = run("RandARInpaint", image=picture, mask=mask, grow_mask_by=0)
    assert reports[-1][:2] == (1, 1)
    monkeypatch.setattr("comfy.model_management.get_free_memory", lambda device: 1)
    one_by_one = run("RandARInpaint", image=picture, mask=mask, grow_mask_by=0)
    assert reports[-1][:2] == (2, 2) and together[1]["samples"].equal(one_by_one[1]["samples"])


@pytest.mark.parametrize("denoise", [1.0, 0.4])
def test_the_native_way_gives_the_same_tokens_for_a_picture_of_the_models_size(run, model, denoise):
    """VAE Encode, Set Latent Noise Mask, RandAR Sampler."""
    pictures, masks = torch.rand(2, 16, 16, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 16, 16)
    masks[0, 1:3, 2:9] = masks[0, 12:, 14:] = masks[1, 5:, :7] = 1
    latent = {"samples": model.vae.encode(pictures), "noise_mask": masks.reshape(-1, 1, 16, 16)}
    native = run("RandARSampler", latent_image=latent, denoise=denoise)[0]["samples"]
    inpainted = run("RandARInpaint", image=pictures, mask=masks, grow_mask_by=0, denoise=denoise)[1]["samples"]
    assert native.equal(inpainted) and not native.equal(latent["samples"])
