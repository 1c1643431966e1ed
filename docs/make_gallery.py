"""Make docs/gallery.md and its pictures, one for every node and task. To be run after a change of the built-in model:

    make gallery

The nodes themselves draw, with the built-in model, in the stand-in for ComfyUI that the tests have. With `--out FOLDER`
it goes elsewhere; with words, only pictures whose names hold one of them are drawn again.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch
from PIL import Image
from torch import Tensor

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from node_pack import load_pack  # noqa: E402

# What is drawn. Where a picture isn't a good one, change its class or its seed here.
VIEW, SEA, TOWN, SKY = "mountains", "sea", "city", "aurora"  # landscapes
THING, OTHER, BOAT, FLYING, TOWER, PLANT = "house", "castle", "sailing boat", "hot-air balloon", "lighthouse", "tree"
SEEDS = {
    "generate": 1, "live-preview": 21, "class-list": 6, "class-blend": 1, "class-region": 3, "class-sweep": 6,
    "negative": 7, "guidance": 8, "order": 9, "painted-order": 10, "inpaint": 11, "change-class": 10, "outpaint": 5,
    "canvas": 2, "extrapolate": 4, "extrapolate-picture": 21, "refine": 17, "confidence": 18, "redraw": 21,
    "edit-tokens": 21, "feature-map": 21, "feature-match": 22,
}  # fmt: skip
ORDERS = ("raster", "spiral out", "hierarchical", "locality-aware", "proximity", "random")

GAP, QUALITY = 6, 85
NOTHING_TO_SHOW = ("RandARLoadModel", "RandARDownloadModel")


@dataclass(frozen=True)
class Entry:
    """A picture of the gallery. `sentence` says what the `nodes` did, `alt` what is seen; `draw` gives its rows."""

    name: str
    title: str
    nodes: tuple[str, ...]
    alt: str
    sentence: str
    draw: Callable[["Studio"], list[list[Tensor]]]


ENTRIES: list[Entry] = []


def entry(name: str, title: str, nodes: str, alt: str, sentence: str):
    """Add what the decorated function draws to the gallery; `nodes` are node ids without RandAR."""

    def add(draw):
        ENTRIES.append(Entry(name, title, tuple(f"RandAR{node}" for node in nodes.split()), alt, sentence, draw))
        return draw

    return add


class Studio:
    """The nodes with the built-in model. Pictures are IMAGEs of one picture, `[H, W, 3]`."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.pack = load_pack(Path(self.folder.name))
        self.model, self.vae = self.run("LoadModel", model_name="built-in")
        self.seed, self.side, own = 0, self.model.side, self.model.defaults
        self.settings = {"steps": own.steps, "cfg": own.guidance, "temperature": own.temperature}

    def run(self, node: str, **inputs) -> tuple:
        return self.pack.run(f"RandAR{node}", **inputs)

    def classes(self, *names: str) -> tuple:
        return self.run("ClassList", class_list=", ".join(names))[0]

    def draw(self, node: str, classes: tuple | str, **inputs) -> tuple:
        """What a node that draws puts out, with the seed of the picture."""
        classes = self.classes(classes) if isinstance(classes, str) else classes
        return self.run(node, **{"model": self.model, "classes": classes, "seed": self.seed, **self.settings, **inputs})

    def sample(self, classes: tuple | str, **inputs) -> dict:
        return self.draw("Sampler", classes, **inputs)[0]

    def decode(self, latent: dict) -> list[Tensor]:
        with torch.inference_mode():
            return list(self.vae.decode(latent["samples"]))

    def pictures(self, classes: tuple | str, **inputs) -> list[Tensor]:
        return self.decode(self.sample(classes, **inputs))

    def box(self, top: float, bottom: float, left: float, right: float) -> Tensor:
        """A MASK of the model's size; the sides of the box as shares of the picture's side."""
        mask = torch.zeros(1, self.side, self.side)
        top, bottom, left, right = (round(share * self.side) for share in (top, bottom, left, right))
        mask[:, top:bottom, left:right] = 1
        return mask

    def previews(self, classes: tuple | str, shares: list[float], **inputs) -> list[Tensor]:
        """The live preview of one picture after these shares of the calls, decoded each time."""
        import comfy.utils
        from comfy.cli_args import LatentPreviewMethod, args

        frames, times = [], self.pack.module("nodes.preview_time")
        calls_left = {round((1 - share) * (self.settings["steps"] - 1)) for share in shares}
        wanted = [
            (times.PreviewTime, "is_due", lambda time, left: left in calls_left),
            (times, "SHARE", 1e6),
            (self.pack.module("nodes.preview"), "LONGEST_PAUSE", 1e6),
            (args, "preview_method", LatentPreviewMethod.Auto),
            (comfy.utils, "PROGRESS_BAR_HOOK", lambda _, total, preview, **more: preview and frames.append(preview[1])),
        ]
        with ExitStack() as patches:
            for owner, name, value in wanted:
                patches.enter_context(mock.patch.object(owner, name, value))
            self.sample(classes, **inputs)
        return [from_image(frame.resize((self.side, self.side))) for frame in frames]


@entry("generate", "Generate", "Class Sampler", f"four pictures of the class {VIEW}", "One class and four seeds.")
def generate(studio):
    return [studio.pictures(VIEW, batch_size=4)]


@entry(
    "live-preview",
    "Live preview",
    "Sampler",
    f"a picture of the class {OTHER} that fills cell by cell",
    "While a picture is drawn, its preview shows what is there; cells that aren't drawn yet are dimmed.",
)
def live_preview(studio):
    return [studio.previews(OTHER, [0.25, 0.4, 0.55, 0.7, 0.85, 1])]


@entry(
    "class-list",
    "All classes",
    "ClassList",
    "a picture of each class of the built-in model",
    "A list of classes gives a batch with a picture of each.",
)
def class_list(studio):
    pictures = studio.pictures(studio.classes(*studio.model.class_names))
    return [pictures[:6], pictures[6:]]


@entry(
    "class-blend",
    "Blend",
    "ClassBlend",
    f"the class {THING}, two blends and the class {OTHER}",
    "Between two classes lie their blends, here with 40 % and 60 % of the second.",
)
def class_blend(studio):
    first, second = studio.classes(THING), studio.classes(OTHER)
    blends = [studio.run("ClassBlend", first=first, second=second, weight=weight)[0] for weight in (0.4, 0.6)]
    return [[studio.pictures(classes)[0] for classes in (first, *blends, second)]]


@entry(
    "class-region",
    "Regions",
    "ClassRegion Canvas",
    f"one wide picture, {TOWN} on the left and {SEA} on the right",
    "Each class counts where its mask is white, on a canvas of any size.",
)
def class_region(studio):
    left = torch.zeros(1, 1, 4)
    left[:, :, :2] = 1
    background = studio.run("ClassRegion", classes=studio.classes(SEA), mask=1 - left)[0]
    both = studio.run("ClassRegion", classes=studio.classes(TOWN), mask=left, background=background)[0]
    return [studio.decode(studio.draw("Canvas", both, width=4 * studio.side, height=studio.side)[0])]


@entry(
    "class-sweep",
    "Sweep",
    "ClassSweep",
    f"six pictures that turn from the class {VIEW} into the class {SEA}",
    "A batch goes from one class to another with the same random numbers.",
)
def class_sweep(studio):
    sweep = studio.run("ClassSweep", first=studio.classes(VIEW), last=studio.classes(SEA), count=6)[0]
    return [studio.pictures(sweep)]


@entry(
    "negative",
    "A class to avoid",
    "Sampler",
    f"above pictures of the class {OTHER}, below the same ones steered away from the class {VIEW}",
    "Guidance steers away from the class at `negative`: above without one, below with one.",
)
def negative(studio):
    away = studio.pictures(OTHER, batch_size=6, negative=studio.classes(VIEW))
    return [studio.pictures(OTHER, batch_size=6), away]


@entry(
    "guidance",
    "Guidance",
    "Guidance",
    f"one picture of the class {THING} drawn with a guidance of 1, 2, 4 and 8",
    "The same random numbers with a constant guidance of 1, 2, 4 and 8: stronger, clearer, less varied.",
)
def guidance(studio):
    schedules = [studio.run("Guidance", course="constant", start=1.0, end=end)[0] for end in (1.0, 2.0, 4.0, 8.0)]
    return [[studio.pictures(THING, guidance=schedule)[0] for schedule in schedules]]


@entry(
    "order",
    "Order",
    "Order",
    f"half-drawn pictures of the class {VIEW}, each in another order",
    f"After the same number of calls: {', '.join(ORDERS)}.",
)
def order(studio):
    orders = [studio.run("Order", order=name)[0] for name in ORDERS]
    return [[studio.previews(VIEW, [0.6], order=each)[0] for each in orders]]


@entry(
    "painted-order",
    "Painted order",
    "PaintedOrder",
    f"a disc that fades outward, a picture of the class {FLYING} that fills from there, and the whole picture",
    "Bright parts of a mask are drawn first.",
)
def painted_order(studio):
    line = torch.linspace(-1, 1, studio.side)
    disc = (1 - (line[:, None].square() + line.square()).sqrt()).clamp(0, 1)
    painted = studio.run("PaintedOrder", mask=disc[None])[0]
    return [[grey(disc), *studio.previews(FLYING, [0.4, 0.6, 0.8, 1], order=painted)]]


@entry(
    "inpaint",
    "Inpaint",
    "Inpaint",
    f"a picture of the class {VIEW}, its masked middle, and two new versions of it",
    "The mask is drawn anew, in two versions here; no pixel outside of it changes.",
)
def inpaint(studio):
    picture, mask = studio.pictures(VIEW)[0], studio.box(0.25, 0.8, 0.25, 0.75)
    versions = [
        studio.draw("Inpaint", VIEW, image=picture[None], mask=mask, seed=studio.seed + more)[0][0] for more in (1, 2)
    ]
    return [[picture, masked(picture, mask), *versions]]


@entry(
    "change-class",
    "Change the class",
    "Inpaint",
    f"a picture of the class {PLANT}, its mask, and the classes {OTHER} and {FLYING} in its place",
    "The mask is drawn as another class.",
)
def change_class(studio):
    picture, mask = studio.pictures(PLANT)[0], studio.box(0.16, 0.88, 0.06, 0.88)
    more = {"image": picture[None], "mask": mask, "seed": studio.seed + 1}
    others = [studio.draw("Inpaint", name, **more)[0][0] for name in (OTHER, FLYING)]
    return [[picture, masked(picture, mask), *others]]


@entry(
    "outpaint",
    "Outpaint",
    "Outpaint",
    f"a picture of the class {TOWER}, and the same with more on both sides",
    "A picture continues beyond its edges.",
)
def outpaint(studio):
    picture, more = studio.pictures(TOWER)[0], studio.side // 2
    wide = studio.draw("Outpaint", TOWER, image=picture[None], left=3 * more, right=3 * more, top=0, bottom=0)[0][0]
    return [[picture, wide]]


@entry(
    "canvas",
    "Panorama",
    "Canvas",
    f"a panorama of the class {VIEW}",
    "A window slides over a canvas of any width and height.",
)
def canvas(studio):
    return [studio.decode(studio.draw("Canvas", VIEW, width=6 * studio.side, height=studio.side)[0])]


@entry(
    "extrapolate",
    "Twice the size",
    "Extrapolate",
    f"pictures of the classes {BOAT}, {VIEW} and {SKY} at twice the trained size",
    "Pictures at twice the size that the model was trained for.",
)
def extrapolate(studio):
    pictures = studio.draw("Extrapolate", studio.classes(BOAT, VIEW, SKY), factor=2, spatial_cfg=1.0)[0]
    return [studio.decode(pictures)]


@entry(
    "extrapolate-picture",
    "A picture at twice its size",
    "Extrapolate",
    f"a picture of the class {OTHER} and the same at twice its size",
    "A picture that is there becomes the small version from which the large one is drawn.",
)
def extrapolate_picture(studio):
    small = studio.sample(OTHER)
    large = studio.draw("Extrapolate", OTHER, factor=2, latent_image=small, spatial_cfg=1.0)[0]
    return [[*studio.decode(small), *studio.decode(large)]]


@entry(
    "refine",
    "Refine",
    "Refine",
    f"above drafts of the class {BOAT}, below the same ones refined",
    "Of a draft in 8 steps, above, the quarter of the tokens that the model trusts least is drawn again, twice.",
)
def refine(studio):
    draft = studio.sample(BOAT, batch_size=6, steps=8)
    refined = studio.draw("Refine", BOAT, latent=draft, forget="share", amount=0.25, rounds=2)[0]
    return [studio.decode(draft), studio.decode(refined)]


@entry(
    "confidence",
    "Confidence",
    "Confidence HeatMap",
    f"pictures of the class {FLYING} and their heat maps",
    "How probable each token is to the model: dark is low, yellow is high.",
)
def confidence(studio):
    latent = studio.sample(FLYING, batch_size=3)
    inputs = {"model": studio.model, "classes": studio.classes(FLYING), "latent": latent, "cfg": 1.0}
    scores = studio.run("Confidence", **inputs)[0]
    heat = studio.run("HeatMap", confidence=scores)[0]
    return [[tile for pair in zip(studio.decode(latent), heat, strict=True) for tile in pair]]


@entry(
    "redraw",
    "Redraw",
    "Sampler",
    f"a picture of the class {VIEW}, and versions with 30, 50 and 70 % of its tokens redrawn",
    "With a picture at `latent_image`, `denoise` says how much of it is redrawn: 0.3, 0.5 and 0.7 here.",
)
def redraw(studio):
    latent = studio.sample(VIEW)
    more = {"latent_image": latent, "seed": studio.seed + 1}
    versions = [studio.pictures(VIEW, denoise=share, **more)[0] for share in (0.3, 0.5, 0.7)]
    return [[*studio.decode(latent), *versions]]


@entry(
    "edit-tokens",
    "Edit tokens",
    "Sampler",
    f"a picture of the class {OTHER}, its left half mirrored, and the seam redrawn",
    "ComfyUI's own latent nodes mirror a half; then the tokens along the seam are drawn again.",
)
def edit_tokens(studio):
    latent = studio.sample(OTHER)
    left = latent["samples"][..., : studio.model.grid // 2]
    mirrored = {"samples": torch.cat([left, left.flip(-1)], -1)}
    seam = mirrored | {"noise_mask": studio.box(0, 1, 0.375, 0.625)}
    return [[*studio.decode(latent), *studio.decode(mirrored), *studio.pictures(OTHER, latent_image=seam)]]


@entry(
    "feature-map",
    "Feature map",
    "FeatureMap",
    f"pictures of the classes {THING}, {BOAT} and {FLYING} beside their features as colours",
    "What the model knows about a picture: parts that are alike have one colour.",
)
def feature_map(studio):
    pictures = studio.pictures(studio.classes(THING, BOAT, FLYING))
    maps = studio.run("FeatureMap", model=studio.model, image=torch.stack(pictures))[0]
    return [[tile for pair in zip(pictures, maps, strict=True) for tile in pair]]


@entry(
    "feature-match",
    "Find a part",
    "FeatureMatch",
    f"a marked part of a picture of the class {THING}, and what is found in two others",
    "A part that is marked in one picture, on the left, is found in others.",
)
def feature_match(studio):
    source, *targets = studio.pictures(THING, batch_size=3)
    marked = studio.box(0.4, 0.75, 0.35, 0.65)
    inputs = {"model": studio.model, "image": source[None], "mask": marked, "target": torch.stack(targets)}
    found = studio.run("FeatureMatch", **inputs)[0]
    shown = [tile for target, mask in zip(targets, found, strict=True) for tile in (target, spotlight(target, mask))]
    return [[spotlight(source, marked[0]), *shown]]


def grey(mask: Tensor) -> Tensor:
    return mask[..., None].expand(-1, -1, 3)


def masked(picture: Tensor, mask: Tensor) -> Tensor:
    """The picture with its mask as a light veil."""
    return torch.lerp(picture, torch.ones_like(picture), 0.85 * grey(mask[0]))


def spotlight(picture: Tensor, mask: Tensor) -> Tensor:
    """The picture, dark outside of the mask."""
    return picture * (0.25 + 0.75 * grey(mask))


def from_image(image: Image.Image) -> Tensor:
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.view(image.height, image.width, 3).to(torch.float32) / 255


def sheet(rows: list[list[Tensor]]) -> Image.Image:
    """Rows of pictures `[H, W, 3]`; pictures that are less high than their row stand in its middle."""
    height = sum(max(len(tile) for tile in row) for row in rows) + GAP * (len(rows) - 1)
    width = max(sum(tile.shape[1] + GAP for tile in row) - GAP for row in rows)
    out, top = torch.ones(height, width, 3), 0
    for row in rows:
        left, high = 0, max(len(tile) for tile in row)
        for tile in row:
            start = top + (high - len(tile)) // 2
            out[start : start + len(tile), left : left + tile.shape[1]] = tile
            left += tile.shape[1] + GAP
        top += high + GAP
    return Image.fromarray((out * 255).round().to(torch.uint8).numpy())


def page(display_names: dict[str, str]) -> str:
    """The text of docs/gallery.md; `display_names` are those of the nodes by their ids."""
    parts = [
        "# Gallery",
        "One picture for every node and task, all drawn by the built-in model. `make gallery` draws them again.",
    ]
    for each in ENTRIES:
        nodes = ", ".join(f"*{display_names[node]}*" for node in each.nodes)
        parts += [f"## {each.title}", f"![{each.alt}](gallery/{each.name}.jpg)", f"{each.sentence} ({nodes})"]
    rest = " and ".join(f"*{display_names[node]}*" for node in NOTHING_TO_SHOW)
    return "\n\n".join([*parts, f"{rest} draw nothing."]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="draw only pictures whose names hold one of these")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="the folder of gallery.md")
    arguments = parser.parse_args()
    studio = Studio()
    pictures = arguments.out / "gallery"
    pictures.mkdir(parents=True, exist_ok=True)
    for each in ENTRIES:
        if not arguments.words or any(word in each.name for word in arguments.words):
            studio.seed = SEEDS[each.name]
            sheet(each.draw(studio)).save(pictures / f"{each.name}.jpg", quality=QUALITY)
            print(pictures / f"{each.name}.jpg", flush=True)
    names = {node_id: node.GET_SCHEMA().display_name for node_id, node in studio.pack.nodes.items()}
    (arguments.out / "gallery.md").write_text(page(names), encoding="utf-8")


if __name__ == "__main__":
    main()
