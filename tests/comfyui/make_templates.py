"""Lay the workflows out and make their pictures, in a real ComfyUI: after a change of nodes or of the built-in model.

    export COMFYUI_DIR=/path/to/ComfyUI COMFYUI_PYTHON=/path/to/its/python
    .venv/bin/python tests/comfyui/make_templates.py [word ...]

With words it takes only the workflows whose names hold one of them. What the workflows of the built-in model show is
chosen in `choices.py`: seeds, classes, masks and words are tuned there. Each workflow is run with previews on and
looked at as ordinary nodes and as Nodes 2.0; its nodes are moved so that there is room for the largest size that each
has (see `layout.py`). Its picture is a square, as the cards of ComfyUI's template browser are. It shows what the
workflow saves and, smaller, what it previews. Where the models of a workflow must be downloaded, its picture shows its
nodes. `make_blueprints.py` comes after this.
"""

import io
import json
import os
import sys
import tempfile
from pathlib import Path

from browser import (
    chromium,
    open_page,
    open_workflow,
    run_workflow,
    settled_layout,
    show_advanced_inputs,
    use_nodes_2,
)
from choices import chosen
from layout import NOTES, Size, laid_out
from PIL import Image, ImageFilter, ImageOps, ImageSequence
from random_models import save_released
from server import Server

ROOT = Path(__file__).parents[2]
SAVING, PREVIEWING = {"SaveImage", "SaveAnimatedWEBP"}, {"PreviewImage"}
ROOMY = NOTES | SAVING | PREVIEWING | {"RandARClassList"}  # they keep the room that their file gives them
FEWEST_STEPS = """() => app.graph._nodes.filter(node => node.type === 'RandARSampler').forEach(node => {
    node.widgets.find(widget => widget.name === 'steps').value = 1;
})"""
LEAST_HEIGHTS = "() => Object.fromEntries(app.graph._nodes.map(node => [node.id, node.computeSize()[1]]))"

SIDE = 512  # pixels of a template's picture
MARGIN, BORDER = 12, 3
INSET = 112  # height of what is previewed, where what is saved fills the square
QUALITY = 88

# The nodes without their widgets, one below the other to the left and to the right by turns, enlarged. A class stands
# under its own name, by which these workflows differ.
SHOW_NODES = """side => {
    const notes = app.graph._nodes.filter(node => node.type.includes('Note'));
    [...notes, ...app.graph._groups].forEach(item => app.graph.remove(item));
    const nodes = app.graph._nodes.toSorted((a, b) => a.pos[0] - b.pos[0] || a.pos[1] - b.pos[1]);
    nodes.forEach(node => {
        node.collapse(true);
        node.badges = [];
        if (node.type === 'RandARClass')
            node.title = node.widgets.find(({name}) => name === 'class_name').value.split(': ')[1];
        node.title = node.title.split(' (')[0];  // a long one would be cut
    });
    const {canvas, ds} = app.canvas;
    const scale = Math.min(2, side / (20 + 38 * nodes.length)), room = side / scale, step = (room - 40) / nodes.length;
    ds.scale = scale;
    ds.offset = [(canvas.clientWidth / 2 - side / 2) / scale, (canvas.clientHeight / 2 - side / 2) / scale];
    app.canvas.draw(true, true);  // which measures the titles
    nodes.forEach((node, place) => {
        const width = node._collapsed_width || 160;
        node.pos = [place % 2 ? room - width - 12 : 12, 20 + (place + 0.5) * step + 15];
    });
    app.canvas.draw(true, true);
    const {left, top} = canvas.getBoundingClientRect();
    return [left + canvas.clientWidth / 2 - side / 2, top + canvas.clientHeight / 2 - side / 2];
}"""


def main(words: list[str]) -> None:
    comfyui, python = Path(os.environ["COMFYUI_DIR"]).resolve(), os.environ.get("COMFYUI_PYTHON", sys.executable)
    paths = [
        path for path in sorted((ROOT / "workflows").glob("*.json")) if not words or any(w in path.stem for w in words)
    ]
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        for name in ("custom_nodes", "input", "models/randar"):
            (base / name).mkdir(parents=True)
        (base / "custom_nodes" / "randar").symlink_to(ROOT)
        save_released(base / "models")
        with Server(comfyui, python, base) as server, open_page(server, chromium()) as page:
            for path in paths:
                make(path, page, server)
                print(path.stem, flush=True)


def make(path: Path, page, server) -> None:
    """Lay one workflow out and make its picture."""
    workflow = chosen(path.stem, json.loads(path.read_text(encoding="utf-8")))
    downloaded = any(node["properties"].get("models") for node in workflow["nodes"])
    open_workflow(page, workflow)
    resize(workflow, page.evaluate(LEAST_HEIGHTS))
    open_workflow(page, workflow)
    if downloaded:
        page.evaluate(FEWEST_STEPS)  # with random weights the pictures show nothing
    run = run_workflow(page, server)
    if run.status != "success":
        sys.exit(f"{path.stem} ended with {run.status}: {run.message}")
    workflow = laid_out(workflow, *largest_sizes(page))
    path.write_text(json.dumps(workflow, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if downloaded:
        open_workflow(page, workflow)
        picture = picture_of_nodes(page)
    else:
        picture = card(*(pictures_of(workflow, kinds, run.outputs, server) for kinds in (SAVING, PREVIEWING)))
    picture.save(path.with_suffix(".jpg"), quality=QUALITY)


def resize(workflow: dict, least_heights: dict[str, float]) -> None:
    """Make the nodes as low as their widgets allow, but for those that show texts or pictures."""
    for node in workflow["nodes"]:
        if node["type"] not in ROOMY:
            node["size"][1] = least_heights[str(node["id"])]


def largest_sizes(page) -> tuple[dict[str, Size], dict[str, Size]]:
    """Width and height of every node of the open workflow in either look, and with its advanced inputs shown."""
    ordinary = settled_layout(page)
    use_nodes_2(page, True)
    modern = settled_layout(page)
    show_advanced_inputs(page)
    opened = settled_layout(page)
    use_nodes_2(page, False)
    return largest(ordinary, modern), largest(ordinary, modern, opened)


def largest(*layouts: dict) -> dict[str, Size]:
    sizes: dict[str, Size] = {}
    for layout in layouts:
        for node in layout["nodes"]:
            width, height = sizes.get(node["id"], (0, 0))
            sizes[node["id"]] = max(width, round(node["size"][0])), max(height, round(node["size"][1]))
    return sizes


def pictures_of(workflow: dict, kinds: set[str], outputs: dict, server) -> list[Image.Image]:
    """What the nodes of some kinds show after a run, by node id; of an animation all its frames."""
    nodes = sorted(node["id"] for node in workflow["nodes"] if node["type"] in kinds)
    images = [image for node in nodes for image in outputs.get(str(node), {}).get("images", ())]
    files = [Image.open(io.BytesIO(server.view(image))) for image in images]
    return [frame.convert("RGB") for file in files for frame in ImageSequence.Iterator(file)]


def card(results: list[Image.Image], previews: list[Image.Image]) -> Image.Image:
    """A square that shows `results` as large as it can, and `previews` small along its lower edge."""
    result = ImageOps.contain(grid(results), (SIDE, SIDE), Image.Resampling.LANCZOS)
    backdrop = ImageOps.fit(result, (SIDE, SIDE)).filter(ImageFilter.GaussianBlur(28))
    square = Image.blend(backdrop, Image.new("RGB", backdrop.size), 0.45)
    beside = (SIDE - result.height) // 2
    square.paste(result, ((SIDE - result.width) // 2, beside))
    height = min(INSET, beside - 2 * MARGIN) if beside > INSET / 2 else INSET
    if previews:  # all side by side
        room = (SIDE - MARGIN) / len(previews) - MARGIN - 2 * BORDER
        height = min([height, *(int(room * preview.height / preview.width) for preview in previews)])
    x = MARGIN
    for preview in previews:
        small = preview.resize((round(preview.width * height / preview.height), height), Image.Resampling.LANCZOS)
        small = ImageOps.expand(small, BORDER, "white")
        square.paste(small, (x, SIDE - MARGIN - small.height))
        x += small.width + MARGIN
    return square


def grid(pictures: list[Image.Image]) -> Image.Image:
    """Pictures of one size in rows, as nearly a square as can be."""
    columns = next(n for n in range(1, len(pictures) + 1) if n * n >= len(pictures))
    rows = -(-len(pictures) // columns)
    width, height = pictures[0].size
    sheet = Image.new("RGB", (columns * width, rows * height))
    for place, picture in enumerate(pictures):
        sheet.paste(picture, (place % columns * width, place // columns * height))
    return sheet


def picture_of_nodes(page) -> Image.Image:
    """The titles of the open workflow's nodes and their links."""
    left, top = page.evaluate(SHOW_NODES, SIDE)
    page.wait_for_timeout(1000)
    clip = {"x": left, "y": top, "width": SIDE, "height": SIDE}
    return Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")


if __name__ == "__main__":
    main(sys.argv[1:])
