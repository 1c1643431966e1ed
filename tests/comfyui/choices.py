"""What the workflows of the built-in model show: classes, seeds, masks and the words about them. Tuned here alone.

    .venv/bin/python tests/comfyui/choices.py && .venv/bin/python tests/comfyui/make_blueprints.py

writes them into `workflows/`, and the blueprints after them. `make_templates.py` writes them too, with the pictures.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import safe_open

ROOT = Path(__file__).parents[2]
NOTE = 1  # id of the note in every workflow

# From the file, since the Python of a ComfyUI, in which the workflows are tested too, can't import `randar_core`.
with safe_open(ROOT / "randar_core" / "builtin.safetensors", "pt") as file:
    BUILT_IN = json.loads(file.metadata()["facts"])

Widgets = Mapping[str, object]


def of_class(name: str) -> Widgets:
    return {"class_name": f"built-in: {name}"}


def seed(number: int) -> Widgets:
    return {"seed": number}


def box(left: int, top: int, width: int, height: int, of: int, at: int) -> dict[int, Widgets]:
    """A white rectangle, in pixels: the SolidMask `of`, which the MaskComposite `at` puts at (left, top)."""
    return {of: {"value": 1, "width": width, "height": height}, at: {"x": left, "y": top}}


@dataclass(frozen=True)
class Choice:
    """`widgets` are values by node id and name; `titles` of nodes and `groups` are words by id."""

    note: str
    widgets: Mapping[int, Widgets]
    titles: Mapping[int, str] = field(default_factory=dict)
    groups: Mapping[int, str] = field(default_factory=dict)


CHOICES = {
    "01 Generate": Choice(
        "The model that comes with the pack draws **128×128** landscapes, of one of twelve classes. Nothing has to be "
        "downloaded.\n\nPress **Run**. Choose another class, or let the seed change automatically after each run. "
        "Fewer **steps** are faster, a higher **cfg** follows the class more closely.",
        {3: of_class("castle"), 4: seed(21)},
    ),
    "02 A batch of classes": Choice(
        "One run draws all the classes of the list, **batch_size** pictures of each: class 1, class 2, …, and again "
        "from the start.\n\nNames and numbers both work. With a model that was trained on ImageNet write, for example, "
        "**golden retriever, 88, macaw**.",
        {3: {"class_list": ", ".join(BUILT_IN["class_names"])}, 4: seed(6)},
    ),
    "03 Painted order": Choice(
        "A mask says which cells are drawn first: **bright cells come first**. Here the middle of the picture comes "
        "before its surroundings. The order matters more with fewer steps.\n\nReplace the two mask nodes by **Load "
        "Image** and paint a mask on it. **RandAR Order** has orders that need no painting.",
        {3: of_class("hot-air balloon"), 9: seed(18)},
    ),
    "04 Inpaint": Choice(
        "The masked part is repainted; everything outside the dilated mask stays as it is, pixel by pixel. Pictures of "
        "**any size** will do: the model sees a square crop around the mask.\n\nFor your own picture, replace the "
        "sampler and **VAE Decode** of group 1 by **Load Image**, paint the mask in its mask editor, and choose the "
        "class that the picture shows.",
        {3: of_class("sailing boat"), 4: seed(14), **box(32, 24, 64, 80, of=8, at=9), 12: seed(4)},
    ),
    "05 Change the class": Choice(
        "**RandAR Inpaint** with another class puts a castle where the tree was; what is outside the mask "
        "stays.\n\nWith a **denoise** below 1 the tokens that fit the new class best stay, so the new picture "
        "resembles the old one more.",
        {
            3: of_class("tree"),
            4: seed(10),
            **box(8, 20, 104, 92, of=8, at=9),
            10: of_class("castle"),
            11: seed(1),
        },
        groups={2: "2. Mask the tree"},
    ),
    "06 Outpaint": Choice(
        "**RandAR Outpaint** adds pixels on any side, by a window that slides outwards: the landscape goes on. The "
        "picture itself stays as it is, pixel by pixel.\n\nFor your own picture, replace the sampler and **VAE "
        "Decode** of group 1 by **Load Image**. ComfyUI's **Pad Image for Outpainting** works as well: connect its "
        "picture and its mask.",
        {3: of_class("mountains"), 4: seed(21), 7: seed(1)},
    ),
    "07 Panorama": Choice(
        "**RandAR Canvas** draws a picture of any width and height: a window of the model's own size slides over it "
        "and sees what was drawn before. **overlap** says how much of it.\n\n**Upscale Image By** doubles the result; "
        "an upscale model can replace it.",
        {3: of_class("city"), 4: seed(0)},
    ),
    "08 Extrapolate": Choice(
        "**RandAR Extrapolate** draws a picture of twice the size that the model was trained for. It draws the trained "
        "size first and then the other cells around it. **spatial_cfg** says how strongly the large picture follows "
        "the small one: 2.5 suits the released models, 1 the built-in one.\n\nThis works with models of the RandAR "
        "family.",
        {3: of_class("castle"), 4: seed(2) | {"spatial_cfg": 1}},
    ),
    "09 Extrapolate a picture": Choice(
        "The tokens of a picture are the small version, and **RandAR Extrapolate** draws the cells between them: a "
        "picture of twice the size that shows the same.\n\nFor your own picture, replace the sampler and **VAE "
        "Decode** of group 1 by **Load Image**, scaled to the model's own size (128×128 for the built-in model, "
        "256×256 for the released ones), and choose its class.",
        {3: of_class("sailing boat"), 4: seed(13), 8: seed(2) | {"spatial_cfg": 1}},
    ),
    "10 Refine": Choice(
        "A draft of 12 steps draws many tokens at a time and gets some wrong. **RandAR Confidence** shows the model's "
        "confidence in each: dark is low, yellow is high. **RandAR Refine** draws the least confident quarter again, "
        "with all others known, twice.\n\nCompare the two pictures and the two heat maps.",
        {3: of_class("house"), 4: seed(5), 9: seed(1)},
    ),
    "11 Edit tokens": Choice(
        "A LATENT holds the tokens of a picture, so ComfyUI's own latent nodes edit them: the left half is "
        "**cropped**, **flipped** and pasted over the right one. That leaves a hard seam in the middle.\n\nThe mask "
        "marks the strip along the seam, and a second **RandAR Sampler** draws the tokens there again, with all others "
        "known.",
        {3: of_class("mountains"), 4: seed(14), **box(48, 0, 32, 128, of=9, at=10), 12: seed(4)},
    ),
    "12 Upscale": Choice(
        "A picture of the built-in model is 128×128. ComfyUI's **Upscale Image By** makes it 512×512 without a model. "
        "To get more detail rather than more pixels, use the workflow with an upscale model.",
        {3: of_class("tree"), 4: seed(10)},
    ),
    "13 Upscale with a model": Choice(
        "An upscale model makes the 128×128 picture 512×512.\n\nIt needs [RealESRGAN_x4plus.safetensors]"
        "(https://huggingface.co/Comfy-Org/Real-ESRGAN_repackaged/resolve/main/RealESRGAN_x4plus.safetensors) in "
        "**models/upscale_models**; ComfyUI offers it when it is missing. Any other upscale model does as well.",
        {3: of_class("desert"), 4: seed(5)},
    ),
    "20 Regions": Choice(
        "Masks say which class is drawn where: a city on the left, a lighthouse on the right, a sailing boat between "
        "them. All of it is **one picture**, so the parts fit together at their borders.\n\nOne **RandAR Class "
        "Region** for each part: its **classes** is what to draw, its **mask** where, and its **background** is the "
        "rest, a class or the regions before it. A mask has any size and may be painted.",
        {
            3: of_class("sailing boat"),
            4: of_class("city"),
            5: of_class("lighthouse"),
            **box(0, 0, 170, 128, of=7, at=8),
            **box(342, 0, 170, 128, of=7, at=9),  # of the same width: one mask is put at both places
            12: seed(1),
        },
    ),
    "21 Morph": Choice(
        "**RandAR Class Sweep** makes a batch that goes from one class to another in even steps. All its pictures have "
        "the random numbers of the first, so only the class changes.\n\nTokens are discrete, so it moves in small "
        "jumps. **SaveAnimatedWEBP** saves the batch as an animation.",
        {3: of_class("tree"), 4: of_class("hot-air balloon"), 6: seed(1)},
    ),
    "22 Negative class": Choice(
        "Guidance compares the class with the model's class for anything and goes further in its direction. A "
        "**negative** class takes the place of the latter: the picture keeps away from it. Here castles keep away "
        "from mountains.\n\nBoth samplers have the same seed. It works as strongly as **cfg** says.",
        {3: of_class("castle"), 4: of_class("mountains"), 5: seed(4), 6: seed(4)},
    ),
    "23 Feature map": Choice(
        "**RandAR Feature Map** shows what the model knows about a picture. The model reads it twice, so every cell "
        "has seen the whole picture.\n\nThe colours are the three directions in which the features differ most. What "
        "is alike has like colours, in all pictures of the batch: here sky, ground, trees and houses, whatever their "
        "own colours are.\n\nFor your own pictures, replace the sampler and **VAE Decode** of group 1 by **Load "
        "Image**.",
        {3: of_class("house"), 4: seed(5)},
    ),
    "24 Find a part and repaint it": Choice(
        "Point at a part in one picture, and it is found in others: the mask marks a sailing boat, and **RandAR "
        "Feature Match** finds the boats of other pictures, whatever their colours are.\n\nIts mask goes into "
        "**RandAR Inpaint** as it is, which draws the sea there: the boats are gone. **grow_mask_by** takes what is "
        "left of them at the mask's edge.\n\nFor your own pictures, replace the sampler, **VAE Decode** and the mask "
        "of groups 1 and 2 by **Load Image**, and paint the mask in its mask editor.",
        {
            3: of_class("sailing boat"),
            4: seed(14),
            **box(52, 40, 46, 48, of=8, at=10),
            **box(40, 86, 62, 16, of=9, at=11),
            14: seed(3),
            19: of_class("sea"),
            20: seed(3) | {"grow_mask_by": 16},
        },
        titles={8: "… but the sails", 9: "… and the hull"},
    ),
}


def chosen(name: str, workflow: dict) -> dict:
    """`workflow` with the values and words of its choice; as it is where nothing is chosen for its `name`.

    Nodes that draw get the guidance scale and the temperature of the built-in model, unless others are chosen.

    Raises KeyError for a node or a widget that it doesn't have.
    """
    workflow = copy.deepcopy(workflow)
    if (choice := CHOICES.get(name)) is None:
        return workflow
    nodes = {node["id"]: node for node in workflow["nodes"]}
    groups = {group["id"]: group for group in workflow["groups"]}
    defaults = BUILT_IN["defaults"]
    draws = [number for number, node in nodes.items() if "temperature" in node.get("widgets_values_named", {})]
    own = {number: {"cfg": defaults["guidance"], "temperature": defaults["temperature"]} for number in draws}
    for number in {NOTE, *draws, *choice.widgets}:
        values = {"text": choice.note} if number == NOTE else {**own.get(number, {}), **choice.widgets.get(number, {})}
        named = nodes[number]["widgets_values_named"]
        if unknown := values.keys() - named.keys():
            raise KeyError(f"{name}: node {number} has no widget {', '.join(sorted(unknown))}")
        named.update(values)
        nodes[number]["widgets_values"] = list(named.values())
    for number, title in choice.titles.items():
        nodes[number]["title"] = title
    for number, title in choice.groups.items():
        groups[number]["title"] = title
    return workflow


def main() -> None:
    for path in sorted((ROOT / "workflows").glob("*.json")):
        workflow = chosen(path.stem, json.loads(path.read_text(encoding="utf-8")))
        path.write_text(json.dumps(workflow, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
