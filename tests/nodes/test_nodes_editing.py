"""The nodes that edit pictures, inside the stand-in host or the real one."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F


@pytest.fixture
def run(pack, model):
    """Run a node with the tiny model, the class star and a few steps."""

    def run(node_id, **inputs):
        star = pack.run("RandARClassList", class_list="star")[0]
        common = {"model": model, "classes": star, "seed": 1, "steps": 4, "cfg": 2.0}
        return pack.run(node_id, **(common | inputs))

    return run


@pytest.fixture
def picture():
    return torch.rand(1, 40, 53, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def latent(model):
    ids = torch.randint(32, (2, 4, 4), generator=torch.Generator().manual_seed(5))
    return {"samples": model.vae.vectors(ids)}


# --- inpaint


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


# --- outpaint and canvas


def test_outpainting_keeps_the_picture(run, picture):
    image, latent, confidence = run("RandAROutpaint", image=picture, left=5, top=0, right=16, bottom=3)
    assert image.shape == (1, 43, 74, 3) and image[:, :40, 5:58].equal(picture)
    assert confidence.shape == (1, 43, 74)


def test_the_confidence_lies_over_the_pixels_that_it_is_of(run, picture):
    """Also where the canvas begins within a cell: 53 pixels are no whole number of cells."""
    _, _, confidence = run("RandAROutpaint", image=picture, left=0, top=0, right=16, bottom=0)
    assert (confidence[..., :53] == 1).all() and (confidence[..., 53:] < 1).all()


def test_outpainting_by_nothing_gives_the_picture_back(run, picture):
    assert run("RandAROutpaint", image=picture, left=0, top=0, right=0, bottom=0)[0].equal(picture)


def test_the_cores_padding_says_where_to_outpaint(run, picture):
    padded = F.pad(picture, (0, 0, 8, 0, 0, 16), value=0.5)
    mask = F.pad(torch.zeros(1, 40, 53), (8, 0, 0, 16), value=1.0)
    by_mask = run("RandAROutpaint", image=padded, mask=mask, left=64, top=64, right=64, bottom=64)[0]
    assert by_mask.equal(run("RandAROutpaint", image=picture, left=8, top=0, right=0, bottom=16)[0])


def padded_as_the_core_does(image, left, top, right, bottom, feathering):
    """The formula of ComfyUI's Pad Image for Outpainting: the padded picture and its mask."""
    _, height, width, _ = image.shape
    padded = F.pad(image, (0, 0, left, right, top, bottom), value=0.5)
    mask, inside = torch.ones(height + top + bottom, width + left + right), torch.zeros(height, width)
    if feathering > 0 and feathering * 2 < height and feathering * 2 < width:
        for y, x in product(range(height), range(width)):
            from_top, from_bottom = y if top else height, height - y if bottom else height
            from_left, from_right = x if left else width, width - x if right else width
            distance = min(from_top, from_bottom, from_left, from_right)
            if distance < feathering:
                inside[y, x] = ((feathering - distance) / feathering) ** 2
    mask[top : top + height, left : left + width] = inside
    return padded, mask.unsqueeze(0)


@pytest.mark.parametrize("sides", list(product((0, 1, 2, 16), (0, 1, 2, 16), (0, 3), (0, 3))))
@pytest.mark.parametrize("feathering", [0, 1, 2, 19, 40])
def test_the_cores_padding_is_taken_off_to_the_pixel(pack, picture, sides, feathering):
    """19 is the most that 40×53 pixels allow; with 40 the core feathers nothing."""
    margins = dict(zip(("left", "top", "right", "bottom"), sides, strict=True))
    padded, mask = padded_as_the_core_does(picture, **margins, feathering=feathering)
    own, found = pack.module("nodes.outpaint").without_padding(padded.permute(0, 3, 1, 2), mask)
    assert found == margins and own.permute(0, 2, 3, 1).equal(picture)


def test_a_picture_whose_padding_is_feathered_stays_to_the_bit(run):
    picture = torch.rand(1, 84, 90, 3, generator=torch.Generator().manual_seed(0))
    padded, mask = padded_as_the_core_does(picture, 8, 4, 0, 0, feathering=40)
    assert run("RandAROutpaint", image=padded, mask=mask, left=0, top=0, right=0, bottom=0)[0][:, 4:, 8:].equal(picture)


def test_a_grey_picture_without_feathering_loses_nothing(pack):
    padded, mask = padded_as_the_core_does(torch.full((1, 8, 8, 3), 0.5), 4, 4, 0, 0, feathering=0)
    assert pack.module("nodes.outpaint").without_padding(padded.permute(0, 3, 1, 2), mask)[1]["top"] == 4


def test_masks_that_differ_are_refused(run, picture):
    masks = torch.stack([F.pad(torch.zeros(32, 45), frame, value=1.0) for frame in ((8, 0, 8, 0), (0, 8, 0, 8))])
    with pytest.raises(ValueError, match="2 masks that differ.*one at a time"):
        run("RandAROutpaint", image=picture, mask=masks, left=0, top=0, right=0, bottom=0)
    same = run("RandAROutpaint", image=picture, mask=masks[:1].repeat(2, 1, 1), left=0, top=0, right=0, bottom=0)[0]
    assert same.shape == picture.shape


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (torch.zeros(1, 64, 64), "64×64 pixels, the picture 53×40"),
        (torch.ones(1, 40, 53), "covers the whole picture"),
        (F.pad(torch.ones(1, 20, 20), (10, 23, 10, 10)), "isn't a frame"),
    ],
)
def test_a_mask_that_is_not_a_frame_is_refused(run, picture, mask, words):
    with pytest.raises(ValueError, match=words):
        run("RandAROutpaint", image=picture, mask=mask, left=0, top=0, right=0, bottom=0)


def test_a_canvas_has_any_size(run, model):
    latent, confidence = run("RandARCanvas", width=50, height=18)
    assert latent["samples"].shape == (1, 4, 5, 13) and confidence.shape == (1, 20, 52)
    assert model.vae.decode(latent["samples"]).shape == (1, 20, 52, 3)


# --- extrapolate


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


# --- refine and confidence


@pytest.mark.parametrize(("forget", "amount"), [("share", 0.25), ("probability", 0.5)])
def test_refining_redraws_some_tokens(run, latent, forget, amount):
    refined, confidence = run("RandARRefine", latent=latent, forget=forget, amount=amount, rounds=2)
    assert refined["samples"].shape == latent["samples"].shape and confidence.shape == (2, 16, 16)
    assert not refined["samples"].equal(latent["samples"])


def test_refining_nothing_changes_nothing(run, latent):
    refined, _ = run("RandARRefine", latent=latent, forget="share", amount=0.0)
    assert refined["samples"].equal(latent["samples"])


@pytest.mark.parametrize(("forget", "amount"), [("share", 0.5), ("share", 1.0), ("probability", 1.0)])
@pytest.mark.parametrize(("height", "width"), [(4, 4), (5, 7)])
def test_refining_keeps_what_lies_outside_of_a_noise_mask(run, model, forget, amount, height, width):
    ids = torch.randint(32, (2, height, width), generator=torch.Generator().manual_seed(5))
    mask = torch.zeros(2, 1, height * 4, width * 4)
    mask[:, :, 4:12, 2:11] = 1  # cells 1…2 of both axes, and the column before by half
    inside = torch.zeros(height, width, dtype=torch.bool)
    inside[1:3, 0:3] = True
    latent = {"samples": model.vae.vectors(ids), "noise_mask": mask}
    for rounds in (1, 3):
        refined, _ = run("RandARRefine", latent=latent, forget=forget, amount=amount, rounds=rounds)
        changed = model.vae.ids(refined["samples"]) != ids
        assert not changed[:, ~inside].any() and changed[:, inside].any()
        if rounds == 1:
            assert (changed.sum((1, 2)) <= round(amount * 6)).all()
        assert refined["noise_mask"] is mask


def test_refining_under_an_empty_noise_mask_changes_nothing(run, latent):
    masked = latent | {"noise_mask": torch.zeros(1, 64, 64)}
    assert run("RandARRefine", latent=masked, forget="share", amount=1.0)[0]["samples"].equal(latent["samples"])


def test_without_a_noise_mask_the_node_refines_as_the_core_does(pack, run, model, latent, reports):
    refine, options_for = pack.module("randar_core.tasks.refine").refine, pack.module("nodes.widgets").options_for
    refined, confidence = run("RandARRefine", latent=latent, forget="share", amount=0.5, rounds=2)
    options, counted = options_for(model, [0, 1], seed=1, steps=4, cfg=2.0), []
    expected = refine(
        model.transformer,
        model.vae.ids(latent["samples"]),
        torch.tensor([2, 2]),
        options,
        share=0.5,
        rounds=2,
        on_step=lambda progress: counted.append((progress.call, progress.calls)),
    )
    assert model.vae.ids(refined["samples"]).equal(expected.ids)
    assert confidence[:, ::4, ::4].equal(expected.confidence)
    told = [report[:2] for report in reports]  # ComfyUI leaves out what comes too fast
    assert told[-1] == counted[-1] and told == [call for call in counted if call in told]


def test_memory_is_asked_for_by_the_largest_square_that_a_mask_may_need(pack):
    """That of a picture that is much longer than high is far larger than the picture."""
    crops, blending = pack.module("randar_core.tasks.crops"), pack.module("randar_core.tasks.blending")
    node = pack.module("nodes.inpaint")
    for row, columns, context in ((5, slice(0, 1), 2.0), (0, slice(40, 60), 2.0), (9, slice(0, 200), 3.0)):
        mask = torch.zeros(2, 10, 200)
        mask[1, row, columns] = 1
        labels = crops.label_regions(blending.dilate(mask, 3) > 0)
        sides = [crop.side for crop in crops.crops_of(labels, context, size=8)]
        assert max(sides) ** 2 <= node.largest_crop(mask > 0, 3, context) <= 200**2
    assert node.largest_crop(torch.zeros(1, 10, 200, dtype=torch.bool), 3, 2.0) == 10**2


def test_scoring_a_large_picture_is_interrupted(pack, model, monkeypatch):
    import comfy.model_management as management

    star = pack.run("RandARClassList", class_list="star")[0]
    progress, told = pack.module("nodes.progress").Progress, []
    report = progress.on_score

    def interrupted(self, done, of):
        told.append((done, of))
        management.interrupt_current_processing()
        return report(self, done, of)

    monkeypatch.setattr(progress, "on_score", interrupted)
    latent = model.vae.vectors(torch.randint(model.vae.codebook.size, (1, 3 * model.grid, model.grid)))
    with pytest.raises(management.InterruptProcessingException):
        pack.run("RandARConfidence", model=model, classes=star, latent={"samples": latent}, cfg=1.0)
    assert told == [(1, 3)]


@pytest.mark.parametrize("node_id", ["RandARRefine", "RandARConfidence"])
def test_one_picture_is_judged_under_several_classes(pack, model, latent, node_id):
    """The last of them counts as much as the first, and each gives what it gives alone."""
    one = {"samples": latent["samples"][:1], "noise_mask": torch.ones(1, 16, 16)}
    given = {"model": model, "latent": one, "cfg": 1.0}
    if node_id == "RandARRefine":
        given |= {"forget": "share", "amount": 0.0, "seed": 1, "steps": 4}
    star, circle, both = (
        pack.run("RandARClassList", class_list=names)[0] for names in ("star", "circle", "star, circle")
    )
    together = pack.run(node_id, classes=both, **given)
    assert len(together[0]["samples"] if node_id == "RandARRefine" else together[0]) == len(together[1]) == 2
    torch.testing.assert_close(together[1][:1], pack.run(node_id, classes=star, **given)[1])
    again = one | {"batch_index": [1]}  # the index that the repeated picture has
    torch.testing.assert_close(together[1][1:], pack.run(node_id, classes=circle, **(given | {"latent": again}))[1])


def test_confidence_is_a_mask_and_a_picture(pack, model, latent):
    star = pack.run("RandARClassList", class_list="star")[0]
    confidence, heat_map = pack.run("RandARConfidence", model=model, classes=star, latent=latent, cfg=1.0)
    assert confidence.shape == (2, 16, 16) and 0 < confidence.min() and confidence.max() < 1
    assert heat_map.shape == (2, 16, 16, 3)
    assert pack.run("RandARHeatMap", confidence=confidence)[0].equal(heat_map)
