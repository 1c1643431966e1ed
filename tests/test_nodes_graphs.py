"""CUDA graphs inside ComfyUI. A processor has none: here the calls that they hold are run as they are."""

import logging
import os

import pytest
import torch

in_comfyui = pytest.mark.skipif(not os.environ.get("NODE_TEST_HOST"), reason="the stand-in keeps no account of memory")


@pytest.fixture
def graphed(pack, tiny, monkeypatch):
    """A model that is to draw with graphs, on a device that is said to have them."""
    monkeypatch.setattr(pack.module("nodes.model"), "no_graphs_for", lambda network, device: None)
    return pack.run("RandARLoadModel", model_name=tiny.name, weight_dtype="fp32", cuda_graphs=True)[0]


@pytest.fixture
def star(pack):
    return pack.run("RandARClassList", class_list="star")[0]


def draw(pack, model, star, batch=1):
    settings = {"seed": 3, "steps": 5, "cfg": 2.0, "batch_size": batch}
    return pack.run("RandARSampler", model=model, classes=star, **settings)[0]["samples"]


def test_they_draw_the_same_pictures(pack, graphed, model, star):
    for batch in (1, 3, 1):
        assert torch.equal(draw(pack, graphed, star, batch), draw(pack, model, star, batch))
    assert graphed.decoder.kept_bytes > 0


def test_every_task_takes_a_model_that_has_them(pack, graphed, model, star):
    pixels, mask = torch.rand(1, 16, 16, 3), torch.zeros(1, 16, 16)
    mask[:, 4:12, 4:12] = 1
    settings = {"classes": star, "seed": 0, "steps": 5, "cfg": 2.0}
    for node, more in (
        ("RandARInpaint", {"image": pixels, "mask": mask}),
        ("RandAROutpaint", {"image": pixels, "left": 0, "top": 0, "right": 8, "bottom": 0}),
        ("RandARExtrapolate", {"factor": 2}),
    ):
        ours, plain = (pack.run(node, model=form, **settings, **more)[0] for form in (graphed, model))
        ours, plain = (each["samples"] if isinstance(each, dict) else each for each in (ours, plain))
        assert torch.equal(ours, plain), node


def test_where_there_are_none_the_log_says_why_and_the_picture_is_drawn(pack, tiny, star, caplog):
    with caplog.at_level(logging.WARNING):
        model, _ = pack.run("RandARLoadModel", model_name=tiny.name, weight_dtype="fp32", cuda_graphs=True)
    assert "tiny draws without cuda_graphs: they are for NVIDIA and AMD graphics cards" in caplog.text
    assert draw(pack, model, star).shape[0] == 1


def test_a_model_of_another_family_has_none(pack):
    reason = pack.module("nodes.model").no_graphs_for(torch.nn.Identity(), torch.device("cuda"))
    assert reason == "they are for RandAR models"


def test_what_they_keep_serves_the_next_run(pack, graphed, star, monkeypatch):
    """It is neither asked for again nor taken for another model's."""
    import comfy.model_management as management

    drawing, asked, free = pack.module("nodes.drawing"), [], []
    monkeypatch.setattr(
        management, "load_models_gpu", lambda models, memory_required, **_: asked.append(memory_required)
    )

    def split_to_fit(run, batch, each, patcher, too_large, taken):
        free.append(taken)
        return run(batch)

    monkeypatch.setattr(drawing, "split_to_fit", split_to_fit)
    for _ in range(2):
        draw(pack, graphed, star)
    assert asked[0] - asked[1] == -free[1] == graphed.kept_bytes > 0 == free[0]


@in_comfyui
def test_what_they_keep_counts_as_the_models_memory_and_lasts_from_run_to_run(pack, graphed, star):
    import comfy.model_management as management

    weights = graphed.patcher.model_size()
    draw(pack, graphed, star)
    (kept,) = graphed.decoder.kept.values()
    assert graphed.patcher.model_size() == weights + kept.bytes
    assert graphed.patcher.loaded_size() == graphed.patcher.model_size()
    kept.pool_bytes = 1000  # as of graphs on a card
    assert graphed.patcher.model_size() == graphed.patcher.clone().model_size() == weights + kept.bytes + 1000
    assert graphed.kept_bytes == kept.bytes  # what another task of the model may be told is there already
    draw(pack, graphed, star)  # loads the model again, which is loaded
    assert list(graphed.decoder.kept.values()) == [kept]
    management.unload_all_models()
    assert not graphed.decoder.kept
    assert graphed.patcher.loaded_size() == 0 and graphed.patcher.model_size() == weights
    draw(pack, graphed, star)


@in_comfyui
def test_they_go_before_any_weight_does(pack, graphed, star):
    draw(pack, graphed, star)
    kept, loaded = graphed.decoder.kept_bytes, graphed.patcher.loaded_size()
    assert graphed.patcher.partially_unload(torch.device("cpu"), kept // 2) == kept
    assert not graphed.decoder.kept and graphed.patcher.loaded_size() == loaded - kept
    draw(pack, graphed, star)
    assert graphed.patcher.partially_unload(torch.device("cpu"), kept + 1) > kept
    assert graphed.patcher.loaded_size() < loaded - kept
    expected = draw(pack, graphed, star)
    assert torch.equal(draw(pack, graphed, star), expected)


@in_comfyui
def test_there_are_none_where_weights_stay_in_main_memory(pack, monkeypatch):
    import comfy.model_management as management

    randar = pack.module("randar_core.models.randar")
    decoder = randar.RandAR(randar.RandARConfig(32, 2, 4, codebook_size=32, classes=3, grid=4))
    model = pack.module("nodes.model")
    monkeypatch.setattr(torch.cuda, "get_allocator_backend", lambda: "native")
    assert model.no_graphs_for(decoder, torch.device("cuda")) is None
    monkeypatch.setattr(torch.cuda, "get_allocator_backend", lambda: "cudaMallocAsync")
    assert "Start ComfyUI with --disable-cuda-malloc" in model.no_graphs_for(decoder, torch.device("cuda"))
    monkeypatch.setattr(management, "vram_state", management.VRAMState.NO_VRAM)
    assert "--novram" in model.no_graphs_for(decoder, torch.device("cuda"))


@in_comfyui
def test_their_patcher_never_pages(graphed):
    import comfy.model_patcher

    assert not graphed.patcher.is_dynamic()
    assert not isinstance(graphed.patcher, getattr(comfy.model_patcher, "ModelPatcherDynamic", ()))
