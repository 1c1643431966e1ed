"""Make the two pictures of README.md that no workflow makes: `docs/banner.jpg` and `docs/first-picture.jpg`.

    .venv/bin/python tests/comfyui/make_page_pictures.py banner
    export COMFYUI_DIR=/path/to/ComfyUI COMFYUI_PYTHON=/path/to/its/python
    .venv/bin/python tests/comfyui/make_page_pictures.py first-picture

The banner shows drawn landscapes, as the built-in model was trained on, of which more and more cells are
there. The first picture is a screenshot of the workflow "01 Generate" after a run.
"""

import argparse
import io
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from randar_core.procedural.landscape.pictures import CLASSES, picture

ROOT = Path(__file__).parents[2]
BANNER, FIRST = ROOT / "docs" / "banner.jpg", ROOT / "docs" / "first-picture.jpg"
QUALITY = 92

# Of the banner, whose left part, with the name, stays: pixels, and what each of its pictures shows.
LEFT, TOP, SIDE, GAP, GRID = 380, 70, 160, 3, 16
SEED = 12
SHOWN = (
    ("lighthouse", 7, 0.08),
    ("castle", 23, 0.3),
    ("sailing boat", 9, 0.62),
    ("mountains", 13, 0.85),
    ("house", 18, 1.0),
)
"""Class, index in the set of `SEED`, and share of the cells that are there."""
EMPTY, LINE = (52, 56, 98), (43, 46, 84)

WIDTH = 1200  # of the first picture


def banner() -> None:
    with Image.open(BANNER) as file:
        image = file.convert("RGB")
    for number, (name, index, share) in enumerate(SHOWN):
        image.paste(panel(name, index, share), (LEFT + number * (SIDE + GAP), TOP))
    image.save(BANNER, quality=QUALITY)


def panel(name: str, index: int, share: float) -> Image.Image:
    """A landscape of which a share of the cells is there, the others empty, each with a line around it."""
    pixels, _ = picture(SEED, index, CLASSES.index(name), SIDE)
    rank = np.random.default_rng(index).permutation(GRID * GRID).reshape(GRID, GRID)
    cell = SIDE // GRID
    empty = np.full((cell, cell, 3), EMPTY, dtype=np.uint8)
    empty[-1], empty[:, -1] = LINE, LINE
    there = np.kron(rank < share * GRID * GRID, np.ones((cell, cell), dtype=bool))
    return Image.fromarray(np.where(there[..., None], pixels, np.tile(empty, (GRID, GRID, 1))))


def first_picture() -> None:
    from browser import LAYOUT, chromium, fit_view, open_page, open_workflow, run_workflow
    from server import Server

    workflow = json.loads((ROOT / "workflows" / "01 Generate.json").read_text(encoding="utf-8"))
    comfyui, python = Path(os.environ["COMFYUI_DIR"]).resolve(), os.environ.get("COMFYUI_PYTHON", sys.executable)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        for name in ("custom_nodes", "input", "models/randar"):
            (base / name).mkdir(parents=True)
        (base / "custom_nodes" / "randar").symlink_to(ROOT)
        with Server(comfyui, python, base) as server, open_page(server, chromium()) as page:
            open_workflow(page, workflow)
            run = run_workflow(page, server)
            if run.status != "success":
                sys.exit(f"The workflow ended with {run.status}: {run.message}")
            fit_view(page)
            page.wait_for_timeout(1000)
            shot = Image.open(io.BytesIO(page.screenshot(clip=page.evaluate(BOX, page.evaluate(LAYOUT))))).convert(
                "RGB"
            )
    shot.resize((WIDTH, round(shot.height * WIDTH / shot.width)), Image.Resampling.LANCZOS).save(FIRST, quality=QUALITY)


# The rectangle of the page that holds all nodes and groups of a layout.
BOX = """({nodes, groups}) => {
    const {canvas, ds} = app.canvas, margin = 12, title = 30, {left, top} = canvas.getBoundingClientRect();
    const boxes = [
        ...nodes.map(({pos, size}) => [pos[0], pos[1] - title, pos[0] + size[0], pos[1] + size[1]]),
        ...groups.map(({bounding: [x, y, width, height]}) => [x, y, x + width, y + height]),
    ];
    const edge = (side, pick) => pick(...boxes.map(box => box[side]));
    const [x, y] = [edge(0, Math.min) - margin, edge(1, Math.min) - margin];
    const [right, bottom] = [edge(2, Math.max) + margin, edge(3, Math.max) + margin];
    return {
        x: left + (x + ds.offset[0]) * ds.scale, y: top + (y + ds.offset[1]) * ds.scale,
        width: (right - x) * ds.scale, height: (bottom - y) * ds.scale,
    };
}"""


PICTURES = {"banner": banner, "first-picture": first_picture}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", choices=PICTURES)
    PICTURES[parser.parse_args().picture]()
