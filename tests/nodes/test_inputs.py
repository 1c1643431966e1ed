"""What other nodes hand to ours: soft masks, values out of range, NaN, empty batches, foreign defaults of torch."""

import logging

import pytest
import torch

NAN, INFINITY = float("nan"), float("inf")
ADDED = ("mask_threshold", "negative", "schedule", "repulsion")  # inputs since the first release


@pytest.fixture
def latent(model):
    """A LATENT of one picture of the model's own size."""
    ids = torch.randint(32, (1, 4, 4), generator=torch.Generator().manual_seed(5))
    return {"samples": model.vae.vectors(ids)}


NO_MARGINS = {"left": 0, "top": 0, "right": 0, "bottom": 0}
REFINE = {"forget": "share", "amount": 0.5}


# --- soft masks


def test_a_faint_mask_is_nothing_to_inpaint(run, picture):
    image, _, confidence = run("RandARInpaint", image=picture, mask=torch.full((1, 40, 53), 0.003))
    assert image.equal(picture) and (confidence == 1).all()


def test_a_faint_background_does_not_widen_what_is_inpainted(run, picture):
    mask = torch.zeros(1, 40, 53)
    mask[:, 10:20, 15:30] = 1
    clean = run("RandARInpaint", image=picture, mask=mask)
    soft = run("RandARInpaint", image=picture, mask=mask.clamp(min=0.003))
    assert all(one.equal(other) for one, other in zip((clean[0], clean[2]), (soft[0], soft[2]), strict=True))


def test_a_mask_of_three_tenths_is_repainted_by_three_tenths(run, picture):
    mask = torch.zeros(1, 40, 53)
    mask[:, 10:20, 15:30] = 1
    settings = {"image": picture, "grow_mask_by": 0, "seam": 0}
    full, soft = (run("RandARInpaint", mask=opacity * mask, **settings)[0] for opacity in (1.0, 0.3))
    torch.testing.assert_close(soft, torch.lerp(picture, full, 0.3), atol=1e-5, rtol=0)
    assert not soft.equal(picture)


def test_a_faint_noise_mask_redraws_nothing(run, latent):
    noise_mask = torch.full((1, 1, 16, 16), 0.003)
    for node_id, name, more in (("RandARSampler", "latent_image", {}), ("RandARRefine", "latent", REFINE)):
        result = run(node_id, **{name: latent | {"noise_mask": noise_mask}}, **more)[0]
        assert result["samples"].equal(latent["samples"])


def test_the_threshold_decides_what_a_noise_mask_covers(run, latent):
    noise_mask = torch.full((1, 1, 16, 16), 0.3)
    masked = latent | {"noise_mask": noise_mask}
    whole = run("RandARSampler", latent_image=latent)[0]["samples"]
    assert run("RandARSampler", latent_image=masked)[0]["samples"].equal(whole)
    assert run("RandARSampler", latent_image=masked, mask_threshold=0.3)[0]["samples"].equal(latent["samples"])
    refined = run("RandARRefine", latent=masked, mask_threshold=0.5, **REFINE)[0]["samples"]
    assert refined.equal(latent["samples"])


def test_a_soft_mask_is_no_frame_to_outpaint(run, picture):
    with pytest.raises(ValueError, match="isn't a frame"):
        run("RandAROutpaint", image=picture, mask=torch.full((1, 40, 53), 0.8), **NO_MARGINS)
    faint = run("RandAROutpaint", image=picture, mask=torch.full((1, 40, 53), 0.003), **NO_MARGINS)[0]
    assert faint.equal(picture)


def test_the_nodes_and_the_library_have_one_threshold(pack):
    threshold = pack.module("randar_core.tasks.inpaint").THRESHOLD
    for node_id in ("RandARInpaint", "RandARSampler", "RandARRefine"):
        widget = {socket.id: socket for socket in pack.nodes[node_id].GET_SCHEMA().inputs}["mask_threshold"]
        assert widget.default == threshold and 0.003 < threshold < 0.3


def test_old_workflows_keep_the_places_of_their_widgets(pack):
    """What was added since the first release comes after everything else."""
    for node in pack.nodes.values():
        names = [socket.id for socket in node.GET_SCHEMA().inputs]
        added = [name for name in names if name in ADDED]
        assert names[len(names) - len(added) :] == added


def test_graphs_from_before_an_input_was_added_are_valid(pack):
    for node in pack.nodes.values():
        for socket in node.GET_SCHEMA().inputs:
            if socket.id in ADDED:
                assert socket.optional, (node.GET_SCHEMA().node_id, socket.id)


# --- values that are not finite, or out of range


def spoiled(tensor, value):
    out = tensor.clone(memory_format=torch.contiguous_format)
    out.view(-1)[7] = value
    return out


@pytest.mark.parametrize("value", [NAN, INFINITY, -INFINITY])
@pytest.mark.parametrize("node_id", ["RandARInpaint", "RandAROutpaint"])
def test_a_pixel_that_is_not_finite_is_refused_by_name(run, picture, node_id, value):
    more = {"mask": torch.ones(1, 40, 53)} if node_id == "RandARInpaint" else NO_MARGINS
    with pytest.raises(ValueError, match="The image has values that are not finite"):
        run(node_id, image=spoiled(picture, value), **more)


@pytest.mark.parametrize("value", [NAN, INFINITY])
def test_a_mask_that_is_not_finite_is_refused_by_name(pack, run, picture, latent, star, value):
    mask = spoiled(torch.ones(1, 40, 53), value)
    with pytest.raises(ValueError, match="The mask has values that are not finite"):
        run("RandARInpaint", image=picture, mask=mask)
    with pytest.raises(ValueError, match="The mask has values that are not finite"):
        run("RandAROutpaint", image=picture, mask=mask, **NO_MARGINS)
    with pytest.raises(ValueError, match="The noise mask of the latent has values that are not finite"):
        run("RandARSampler", latent_image=latent | {"noise_mask": mask})
    with pytest.raises(ValueError, match="The mask of the order has values that are not finite"):
        pack.run("RandARPaintedOrder", mask=mask)
    with pytest.raises(ValueError, match="The confidence has values that are not finite"):
        pack.run("RandARHeatMap", confidence=mask)
    with pytest.raises(ValueError, match="The mask has values that are not finite"):
        pack.run("RandARClassRegion", classes=star, mask=mask)


@pytest.mark.parametrize("value", [NAN, INFINITY, 1e30])
@pytest.mark.parametrize(
    ("node_id", "name", "more"),
    [
        ("RandARSampler", "latent_image", {}),
        ("RandARExtrapolate", "latent_image", {"factor": 2}),
        ("RandARRefine", "latent", REFINE),
        ("RandARConfidence", "latent", {}),
    ],
)
def test_a_latent_that_is_not_finite_or_far_too_large_is_refused_by_name(
    pack, model, star, latent, node_id, name, more, value
):
    inputs = {"model": model, "classes": star, "cfg": 2.0, name: {"samples": spoiled(latent["samples"], value)}} | more
    if node_id != "RandARConfidence":
        inputs |= {"seed": 1, "steps": 4}
    with pytest.raises(ValueError, match="The latent has values"):
        pack.run(node_id, **inputs)


@pytest.mark.parametrize("value", [NAN, INFINITY])
def test_the_vae_refuses_values_that_are_not_finite(model, latent, value):
    with pytest.raises(ValueError, match="The image has values that are not finite"):
        model.vae.encode(spoiled(torch.rand(1, 16, 16, 3), value))
    for decode in (model.vae.decode, model.vae.decode_tiled):
        with pytest.raises(ValueError, match="The latent has values that are not finite"):
            decode(spoiled(latent["samples"], value))


@pytest.mark.parametrize("value", [1.5, -0.5, 1e30])
def test_pixels_out_of_range_are_clamped_by_all_nodes_and_the_log_says_so(run, model, picture, caplog, value):
    wrong, clamped = spoiled(picture, value), spoiled(picture, min(max(value, 0), 1))
    mask = torch.zeros(1, 40, 53)
    mask[:, 10:20, 15:30] = 1
    margins = NO_MARGINS | {"right": 8}
    with caplog.at_level(logging.WARNING):
        assert run("RandARInpaint", image=wrong, mask=mask)[0].equal(run("RandARInpaint", image=clamped, mask=mask)[0])
        assert run("RandAROutpaint", image=wrong, **margins)[0].equal(
            run("RandAROutpaint", image=clamped, **margins)[0]
        )
        assert model.vae.encode(wrong).equal(model.vae.encode(clamped))
    assert caplog.text.count("They are clamped to 0…1") == 3


def test_a_picture_in_whole_numbers_is_refused(run, picture):
    with pytest.raises(ValueError, match="The image has numbers of type torch.uint8"):
        run("RandAROutpaint", image=(picture * 255).to(torch.uint8), **NO_MARGINS)


# --- empty batches


def test_empty_batches_are_refused_by_name(pack, run, model, picture, latent, star):
    none, no_mask, no_latent = picture[:0], torch.zeros(0, 40, 53), {"samples": latent["samples"][:0]}
    mask = torch.ones(1, 40, 53)
    for name, call in {
        "image": lambda: run("RandARInpaint", image=none, mask=mask),
        "mask": lambda: run("RandARInpaint", image=picture, mask=no_mask),
        "latent": lambda: run("RandARSampler", latent_image=no_latent),
        "confidence": lambda: pack.run("RandARHeatMap", confidence=no_mask),
        "mask of the order": lambda: pack.run("RandARPaintedOrder", mask=no_mask),
        "picture of the order": lambda: pack.run("RandARPaintedOrder", mask=none),
        "noise mask of the latent": lambda: run("RandARSampler", latent_image=latent | {"noise_mask": no_mask}),
    }.items():
        with pytest.raises(ValueError, match=f"The {name} is empty"):
            call()
    for name, call in {
        "image": lambda: run("RandAROutpaint", image=none, **NO_MARGINS),
        "mask": lambda: pack.run("RandARClassRegion", classes=star, mask=no_mask),
        "latent": lambda: run("RandARRefine", latent=no_latent, **REFINE),
    }.items():
        with pytest.raises(ValueError, match=f"The {name} is empty"):
            call()
    with pytest.raises(ValueError, match="The latent is empty"):
        pack.run("RandARConfidence", model=model, classes=star, latent=no_latent, cfg=1.0)
    with pytest.raises(ValueError, match="The image is empty"):
        model.vae.encode(none)
    with pytest.raises(ValueError, match="The latent is empty"):
        model.vae.decode(no_latent["samples"])


# --- another pack changed torch's defaults


def results_of_every_task(pack, tiny, star):
    """What every node that computes puts out, with a model that is loaded first.

    Without tiles of the VAE: ComfyUI itself makes their canvas, in torch's default dtype.
    """
    model, vae = pack.run("RandARLoadModel", model_name=tiny.name, weight_dtype="fp32")
    cpu = {"dtype": torch.float32, "device": "cpu"}
    image = torch.linspace(0, 1, 24 * 20 * 3, **cpu).view(1, 24, 20, 3)
    mask = torch.zeros(1, 24, 20, **cpu)
    mask[:, 4:12, 4:16] = 1
    common = {"model": model, "classes": star, "seed": 3, "steps": 4, "cfg": 2.0}
    order = pack.run("RandARPaintedOrder", mask=mask)[0]
    region = pack.run("RandARClassRegion", classes=star, mask=mask)[0]
    drawn = pack.run("RandARSampler", **common, batch_size=2)
    settings = {k: v for k, v in common.items() if k not in ("seed", "steps")}
    outputs = [
        drawn,
        pack.run("RandARSampler", **common, order=order),
        pack.run("RandARSampler", **(common | {"classes": region})),
        pack.run("RandARSampler", **common, latent_image=drawn[0] | {"noise_mask": mask}, denoise=0.5),
        pack.run("RandARInpaint", **common, image=image, mask=mask, denoise=0.7),
        pack.run("RandAROutpaint", **common, image=image, left=4, top=0, right=9, bottom=0),
        pack.run("RandARCanvas", **common, width=40, height=16),
        pack.run("RandARExtrapolate", **common, factor=2),
        pack.run("RandARRefine", **common, latent=drawn[0], forget="share", amount=0.5),
        pack.run("RandARConfidence", **settings, latent=drawn[0]),
        (vae.decode(drawn[0]["samples"]), vae.encode(image)),
        (pack.module("nodes.preview").code_colours(vae),),
    ]
    return [value["samples"] if isinstance(value, dict) else value for output in outputs for value in output]


@pytest.fixture(scope="module")
def usual(pack, tiny):
    return results_of_every_task(pack, tiny, pack.run("RandARClassList", class_list="star")[0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_another_default_dtype_changes_nothing(pack, tiny, star, usual, dtype):
    torch.set_default_dtype(dtype)
    try:
        found = results_of_every_task(pack, tiny, star)
    finally:
        torch.set_default_dtype(torch.float32)
    for expected, result in zip(usual, found, strict=True):
        assert result.dtype == expected.dtype and result.equal(expected)


def test_another_default_device_changes_nothing(pack, tiny, star, usual):
    torch.set_default_device("meta")
    try:
        found = results_of_every_task(pack, tiny, star)
    finally:
        torch.set_default_device(None)
    for expected, result in zip(usual, found, strict=True):
        assert result.device == expected.device and result.equal(expected)
