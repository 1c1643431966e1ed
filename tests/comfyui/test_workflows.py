"""Every workflow in the real server and in a real browser: opened, run, and seen to draw."""

import json
import os
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from randar_core.checkpoints.bundle import save_bundle
from randar_core.checkpoints.families import family_of
from randar_core.checkpoints.releases import find_release
from randar_core.classes import imagenet_classes

WORKFLOWS = sorted((Path(__file__).parent.parent.parent / "workflows").glob("*.json"))
STEPS = 4  # of RandAR-L; those of the workflow take minutes on a CPU
UPSCALER = "RealESRGAN_x4plus.safetensors"
TIMEOUT = 600_000  # milliseconds; a busy machine takes its time

# Without these Chromium asks the internet for this and that.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
ARGUMENTS += ["--disable-component-update", "--disable-sync"]

INVALID = """() => app.graph._nodes.flatMap(node => {
    if (!LiteGraph.registered_node_types[node.type]) return [node.type + ' is missing'];
    const wrong = (node.has_errors || node.color === '#f00') ? [node.type + ' is red'] : [];
    for (const widget of node.widgets || []) {
        const {values, min, max} = widget.options || {};
        const choices = typeof values === 'function' ? values(widget, node) : values;
        if (widget.type === 'combo' && Array.isArray(choices) && !choices.includes(widget.value))
            wrong.push(`${node.type}: ${widget.name} has no choice ${widget.value}`);
        if (widget.type === 'number' && (widget.value < min || widget.value > max || isNaN(widget.value)))
            wrong.push(`${node.type}: ${widget.name} is ${widget.value}`);
    }
    return wrong;
})"""
FEWER_STEPS = """steps => {
    const sampler = app.graph._nodes.find(node => node.type === 'RandARSampler');
    if (steps) sampler.widgets.find(widget => widget.name === 'steps').value = steps;
}"""
SHOWN = """() => app.graph._nodes.filter(node => ['SaveImage', 'PreviewImage'].includes(node.type))
    .every(node => node.imgs?.length && node.imgs.every(image => image.complete && image.naturalWidth))"""


@pytest.fixture(scope="module")
def models(server):
    """Random stand-ins for the files that must be fetched, under their names."""
    folder = server.base / "models/randar"
    # Keys and shapes are the released ones, the tokenizer has to be found.
    for release in map(find_release, ("randar-l-llamagen", "llamagen-vq16")):
        family = family_of(release.config)
        save_file(random_weights(family.shapes(release.config)), folder / release.file)
    # RAR draws one token a call: 256 calls of all layers take minutes on a CPU.
    rar, maskgit = find_release("rar-b"), find_release("maskgit-vqgan")
    networks = random_network(rar, layers=2), random_network(maskgit, channels=32)
    save_bundle(folder / rar.file, *networks, imagenet_classes(), rar.defaults, rar.name)
    save_upscaler(server.base / "models/upscale_models" / UPSCALER)


def random_network(release, **changes) -> torch.nn.Module:
    family, config = family_of(release.config), replace(release.config, **changes)
    network = family.network(config, device="meta", dtype=torch.bfloat16)
    network.load_state_dict(random_weights(family.shapes(config)), assign=True)
    return network


def random_weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    noise = torch.randn(1 << 16, generator=torch.Generator().manual_seed(0)).bfloat16() * 0.05
    weights = {}
    for key, shape in shapes.items():
        size = torch.Size(shape).numel()
        values = noise.repeat(-(-size // len(noise)))[:size].reshape(shape)
        weights[key] = values.contiguous() if len(shape) > 1 or "bias" in key else torch.ones_like(values)
    return weights


def save_upscaler(path: Path) -> None:
    """An ESRGAN of one narrow block, for four times the size."""
    width, growth = 8, 32
    ends = {"conv_first": (3, width), "conv_last": (width, 3)}
    sizes = ends | dict.fromkeys(("conv_body", "conv_up1", "conv_up2", "conv_hr"), (width, width))
    for block in (1, 2, 3):
        for layer in (1, 2, 3, 4, 5):
            sizes[f"body.0.rdb{block}.conv{layer}"] = (width + (layer - 1) * growth, growth if layer < 5 else width)
    shapes = {f"{key}.weight": (to, came, 3, 3) for key, (came, to) in sizes.items()}
    shapes |= {f"{key}.bias": (to,) for key, (_, to) in sizes.items()}
    path.parent.mkdir(exist_ok=True)
    save_file({key: value.float() for key, value in random_weights(shapes).items()}, path)


@pytest.fixture(scope="module")
def page(server, models):
    """ComfyUI's page in headless Chromium."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.skip("Workflows were not opened in a browser: that takes `pip install playwright` and Chromium")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("Workflows were not opened in a browser: no Chromium was found; CHROMIUM names one")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1500, "height": 900})
        page.set_default_timeout(TIMEOUT)
        page.goto(server.url("/"), wait_until="domcontentloaded")
        page.wait_for_function("window.app && window.app.graph && window.app.extensionManager")
        yield page
        browser.close()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_opens_runs_and_draws(server, page, path, tmp_path):
    workflow = json.loads(path.read_text(encoding="utf-8"))
    page.evaluate("workflow => app.loadGraphData(workflow)", workflow)
    page.wait_for_function("count => app.graph._nodes.length === count", arg=len(workflow["nodes"]))
    assert page.evaluate(INVALID) == []
    # The same values in the same places: nothing was lost or shifted on the way through the page.
    opened = page.evaluate("() => app.graph.serialize().nodes.map(node => [node.id, node.widgets_values || []])")
    assert sorted(opened) == sorted([node["id"], node.get("widgets_values", [])] for node in workflow["nodes"])

    page.evaluate(FEWER_STEPS, STEPS if path.stem == "generate-randar-l" else None)
    prompt = page.evaluate("async () => (await app.graphToPrompt()).output")
    run = server.run(prompt, timeout=TIMEOUT / 1000, preview_method="auto")
    assert run.status == "success", run.message
    pictures = [server.view(image) for output in run.outputs.values() for image in output.get("images", ())]
    assert len(pictures) >= 1
    assert all(min(size_of(picture)) >= 128 for picture in pictures)
    assert run.previews

    page.evaluate("() => app.queuePrompt(0)")
    page.wait_for_function(SHOWN)
    assert page.evaluate(INVALID) == []
    page.screenshot(path=tmp_path / f"{path.stem}.png")


def size_of(png: bytes) -> tuple[int, int]:
    """Width and height."""
    assert png.startswith(b"\x89PNG")
    return struct.unpack(">II", png[16:24])
