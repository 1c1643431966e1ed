"""The pack in a real ComfyUI, through its HTTP and WebSocket interface."""

import io
import itertools
import json
import time

import pytest
from PIL import Image

seeds = itertools.count(1000)  # a graph that ran before is cached and runs no more


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def load(name="tiny.safetensors", weight_dtype="default"):
    return node("RandARLoadModel", model_name=name, weight_dtype=weight_dtype, tokenizer="auto")


def sampler(**inputs):
    widgets = {"steps": 12, "cfg": 2.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "batch_size": 1, "denoise": 1.0}
    return node("RandARSampler", model=["1", 0], classes=["2", 0], seed=next(seeds), **(widgets | inputs))


def common_inputs():
    """What every node that draws takes."""
    inputs = sampler()["inputs"]
    return {name: value for name, value in inputs.items() if name not in ("batch_size", "denoise")}


def graph(model="tiny.safetensors", classes="star", extra=None, vae="VAEDecode", **inputs):
    """Generate and save, with `extra` nodes beside."""
    decode = {"samples": ["3", 0], "vae": ["1", 1]}
    if vae == "VAEDecodeTiled":
        decode |= {"tile_size": 64, "overlap": 16, "temporal_size": 64, "temporal_overlap": 8}
    return {
        "1": load(model),
        "2": node("RandARClassList", class_list=classes),
        "3": sampler(**inputs),
        "4": node(vae, **decode),
        "5": node("SaveImage", images=["4", 0], filename_prefix="test"),
        **(extra or {}),
    }


@pytest.fixture
def picture(server):
    """A picture with alpha in the input folder, larger than the model's."""
    image = Image.radial_gradient("L").convert("RGBA").resize((160, 128))
    image.putalpha(Image.linear_gradient("L").resize((160, 128)).point(lambda level: 255 * (level > 128)))
    image.save(server.base / "input" / "picture.png")
    return {
        "10": node("LoadImage", image="picture.png"),
        "11": node("ImageScale", image=["10", 0], upscale_method="bilinear", width=128, height=128, crop="center"),
        "12": node("VAEEncode", pixels=["11", 0], vae=["1", 1]),
    }


def saved(server, run):
    return [Image.open(io.BytesIO(server.view(image))) for image in run.outputs["5"]["images"]]


def test_the_nodes_are_offered(server):
    offered = server.get("/object_info")
    ours = {name: info for name, info in offered.items() if info["python_module"] == "custom_nodes.any-name"}
    assert {"RandARLoadModel", "RandARClass", "RandARSampler", "RandAROrder", "RandARGuidance"} <= set(ours)
    files = ours["RandARLoadModel"]["input"]["required"]["model_name"]
    assert "tiny.safetensors" in json.dumps(files)
    assert ours["RandARSampler"]["output"] == ["LATENT", "MASK"]


def test_a_picture_is_generated_with_progress(server):
    run = server.run(graph(classes="star, circle", batch_size=2))
    assert run.status == "success", run.message
    assert [image.size for image in saved(server, run)] == [(128, 128)] * 4
    assert {data["max"] for data in run.of("progress") if data["node"] == "3"} == {12}
    assert not run.previews


def test_previews_come_when_they_are_wanted(server):
    run = server.run(graph(), preview_method="auto")
    assert run.status == "success" and run.previews
    assert Image.open(io.BytesIO(run.previews[0])).format == "JPEG"


def test_the_saved_picture_carries_its_workflow(server):
    run = server.run(graph(), extra_pnginfo={"workflow": {"nodes": [], "name": "mine"}})
    text = saved(server, run)[0].text
    assert json.loads(text["workflow"])["name"] == "mine"
    assert json.loads(text["prompt"])["3"]["class_type"] == "RandARSampler"


def test_a_second_run_comes_from_the_cache(server):
    prompt = graph()
    server.run(prompt)
    again = server.run(prompt)
    assert {"1", "2", "3", "4"} <= again.cached and not again.of("progress")


def test_another_seed_keeps_the_model(server):
    first = graph()
    server.run(first)
    assert "1" in server.run(first | {"3": sampler()}).cached


def test_a_long_run_is_interrupted_at_once_and_the_next_one_runs(server):
    sent = []

    def interrupt(event):
        if event["type"] == "progress" and event["data"]["value"] >= 1 and not sent:
            sent.append(time.monotonic())
            server.post("/interrupt", {})

    run = server.run(graph(steps=256, batch_size=32), on_event=interrupt)
    assert run.status == "interrupted"
    assert max(data["value"] for data in run.of("progress")) < 128
    assert server.run(graph()).status == "success"


FREE = {"unload_models": True, "free_memory": True}


@pytest.mark.parametrize(
    "give_back",
    [lambda server: server.post("/free", FREE), lambda server: server.run(graph())],
    ids=["free", "another model"],
)
def test_the_memory_of_a_model_comes_back(server, give_back):
    server.run(graph())
    server.post("/free", FREE)
    time.sleep(3)
    before = server.memory()
    # Of one size on every processor: by default some take 16 bits.
    in_float32 = {"1": load("large.safetensors", weight_dtype="fp32")}
    run = server.run(graph(steps=2, extra=in_float32))
    assert run.status == "success", run.message
    weights = (server.base / "models/randar/large.safetensors").stat().st_size
    assert server.memory() - before > 0.7 * weights
    give_back(server)
    deadline = time.monotonic() + 60
    while server.memory() - before > 0.3 * weights and time.monotonic() < deadline:
        time.sleep(1)
    assert server.memory() - before < 0.3 * weights


CHAINS = {
    "flip": {"20": node("LatentFlip", samples=["12", 0], flip_method="y-axis: horizontally")},
    "rotate": {"20": node("LatentRotate", samples=["12", 0], rotation="90 degrees")},
    "composite": {
        "19": node("LatentFlip", samples=["12", 0], flip_method="x-axis: vertically"),
        "20": node("LatentComposite", samples_to=["12", 0], samples_from=["19", 0], x=64, y=0, feather=16),
    },
    "crop and composite": {
        "19": node("LatentCrop", samples=["12", 0], width=64, height=64, x=0, y=0),
        "20": node("LatentComposite", samples_to=["12", 0], samples_from=["19", 0], x=64, y=64, feather=0),
    },
    "noise mask": {"20": node("SetLatentNoiseMask", samples=["12", 0], mask=["10", 1])},
    "for inpaint": {"20": node("VAEEncodeForInpaint", pixels=["11", 0], vae=["1", 1], mask=["10", 1], grow_mask_by=6)},
    "tiled": {
        "20": node(
            "VAEEncodeTiled",
            pixels=["11", 0],
            vae=["1", 1],
            tile_size=64,
            overlap=64,
            temporal_size=64,
            temporal_overlap=8,
        )
    },
    "repeat": {"20": node("RepeatLatentBatch", samples=["12", 0], amount=2)},
    "empty": {"20": node("EmptyLatentImage", width=256, height=256, batch_size=2)},
}


@pytest.mark.parametrize("chain", CHAINS)
def test_the_core_latent_nodes_feed_the_sampler(server, picture, chain):
    run = server.run(graph(extra=picture | CHAINS[chain], latent_image=["20", 0], denoise=0.6, vae="VAEDecodeTiled"))
    assert run.status == "success", run.message
    count = 2 if chain in ("repeat", "empty") else 1
    assert [image.size for image in saved(server, run)] == [(128, 128)] * count


def test_a_masked_latent_keeps_the_rest_of_the_picture(server, picture):
    extra = picture | {
        "20": node("SetLatentNoiseMask", samples=["12", 0], mask=["10", 1]),
        "21": node("MaskToImage", mask=["3", 1]),
        "22": node("SaveImage", images=["21", 0], filename_prefix="confidence"),
    }
    run = server.run(graph(extra=extra, latent_image=["20", 0]))
    assert run.status == "success", run.message
    confidence = Image.open(io.BytesIO(server.view(run.outputs["22"]["images"][0]))).convert("L")
    # The mask, 1 where alpha is 0, covers the upper half.
    assert confidence.getpixel((64, 120)) == 255 and confidence.getpixel((64, 8)) < 255


BROKEN = {
    "a class of another model": (
        graph(extra={"2": node("RandARClass", class_name="207: golden retriever")}),
        "doesn't know the class '207: golden retriever'",
    ),
    "a class that the built-in model drew before": (
        graph(extra={"2": node("RandARClass", class_name="built-in: star")}),
        "doesn't know the class 'star'. Since version 0.2.0 it draws landscapes: sea, ",
    ),
    "a latent of Stable Diffusion": (
        graph(
            extra={
                "19": node("EmptyLatentImage", width=128, height=128, batch_size=1),
                "20": node("LatentAdd", samples1=["19", 0], samples2=["21", 0]),
                "21": node("VAEEncode", pixels=["22", 0], vae=["1", 1]),
                "22": node("EmptyImage", width=256, height=256, batch_size=1, color=255),
            },
            latent_image=["21", 0],
        ),
        "the model draws 16×16 cells, 128×128 pixels",
    ),
    "a broken file": (graph("broken.safetensors"), "broken.safetensors"),
    "a file that isn't there": (graph("nowhere.safetensors"), "not in"),
    "no steps": (graph(steps=0), "steps"),
    "no pictures": (graph(batch_size=0), "batch_size"),
    "too many pictures": (graph(batch_size=100000), "batch_size"),
    "a seed below 0": (graph() | {"3": sampler() | {"inputs": sampler()["inputs"] | {"seed": -1}}}, "seed"),
    "an empty class list": (graph(classes=" "), "class list is empty"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_graph_says_what_is_wrong(server, case):
    prompt, words = BROKEN[case]
    run = server.run(prompt)
    assert run.status in ("error", "refused")
    assert words in (run.message if run.status == "error" else json.dumps(run.error, ensure_ascii=False))
    assert server.run(graph()).status == "success"


EDITING = {
    "RandARInpaint": (
        {"image": ["10", 0], "mask": ["10", 1], "denoise": 0.7, "context": 2.0, "grow_mask_by": 4, "seam": 4},
        (160, 128),
    ),
    "RandAROutpaint": (
        {"image": ["10", 0], "left": 8, "top": 0, "right": 24, "bottom": 0, "overlap": 0.5, "seam": 8},
        (192, 128),
    ),
}


@pytest.mark.parametrize("kind", EDITING)
def test_pictures_are_edited(server, picture, kind):
    inputs, size = EDITING[kind]
    common = common_inputs()
    run = server.run(
        {
            "1": load(),
            "2": node("RandARClassList", class_list="star"),
            "10": picture["10"],
            "3": node(kind, **(common | inputs)),
            "5": node("SaveImage", images=["3", 0], filename_prefix="edited"),
        }
    )
    assert run.status == "success", run.message
    assert [image.size for image in saved(server, run)] == [size]


@pytest.mark.parametrize("feathering", [0, 40])
def test_the_cores_padded_picture_is_outpainted(server, picture, feathering):
    common = common_inputs()
    run = server.run(
        {
            "1": load(),
            "2": node("RandARClassList", class_list="star"),
            "10": picture["10"],
            "11": node(
                "ImagePadForOutpaint", image=["10", 0], left=0, top=16, right=0, bottom=8, feathering=feathering
            ),
            "3": node(
                "RandAROutpaint",
                image=["11", 0],
                mask=["11", 1],
                **common,
                **{"left": 0, "top": 0, "right": 0, "bottom": 0, "overlap": 0.5, "seam": 8},
            ),
            "5": node("SaveImage", images=["3", 0], filename_prefix="edited"),
        }
    )
    assert run.status == "success", run.message
    assert [image.size for image in saved(server, run)] == [(160, 152)]


def test_a_canvas_an_extrapolation_and_a_refined_picture_are_drawn(server):
    common = common_inputs()
    kinds = {
        "RandARCanvas": {"width": 200, "height": 128, "batch_size": 1, "overlap": 0.5},
        "RandARExtrapolate": {"factor": 2, "spatial_cfg": 2.5, "batch_size": 1, "drop_ratio": 0.5, "boundary": -1},
        "RandARRefine": {"latent": ["3", 0], "forget": "share", "amount": 0.25, "rounds": 2},
    }
    for kind, inputs in kinds.items():
        prompt = graph() | {"30": node(kind, **(common | inputs))}
        prompt["31"] = node("VAEDecode", samples=["30", 0], vae=["1", 1])
        prompt["32"] = node("RandARHeatMap", confidence=["30", 1])
        prompt["5"] = node("SaveImage", images=["31", 0], filename_prefix="test")
        prompt["33"] = node("PreviewImage", images=["32", 0])
        run = server.run(prompt)
        assert run.status == "success", (kind, run.message)
        size = {"RandARCanvas": (200, 128), "RandARExtrapolate": (256, 256), "RandARRefine": (128, 128)}[kind]
        assert [image.size for image in saved(server, run)] == [size]
