"""Make the subgraph blueprints of `subgraphs/` from the workflows: after a change of nodes or workflows.

    .venv/bin/python tests/comfyui/make_blueprints.py

ComfyUI offers each file of that folder as a node, under the file's name. A blueprint holds some nodes of a workflow
with the values that they have there; the widgets that it shows are theirs.
"""

import copy
import json
import uuid
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
INPUTS, OUTPUTS = -10, -20  # ids of the two ends of a subgraph
SLOT, END_WIDTH, AWAY = 20, 120, 200  # pixels: a slot of an end, its width, and how far it is from the nodes
GAP, ROOM = 100, 120  # pixels: between two columns of nodes; below a node, for a title and for its advanced inputs


@dataclass(frozen=True)
class Blueprint:
    """`nodes` are types of nodes of the workflow; `widgets` (type, widget) are shown, in this order.

    What the nodes get from others in the workflow are the inputs, what `output` puts out first is the output.
    """

    name: str
    workflow: str
    description: str
    nodes: tuple[str, ...]
    output: str
    widgets: tuple[tuple[str, str], ...]


COMMON = (("RandARLoadModel", "model_name"), ("RandARClass", "class_name"))
BLUEPRINTS = (
    Blueprint(
        "Generate (RandAR)",
        "01 Generate",
        "Draws pictures of a class with a RandAR or RAR model.",
        ("RandARLoadModel", "RandARClass", "RandARSampler", "VAEDecode"),
        "VAEDecode",
        (*COMMON, *(("RandARSampler", name) for name in "seed control_after_generate steps cfg batch_size".split())),
    ),
    Blueprint(
        "Inpaint and Stitch (RandAR)",
        "04 Inpaint",
        "Repaints the masked part of a picture of any size and puts it back; all other pixels stay as they are.",
        ("RandARLoadModel", "RandARClass", "RandARInpaint"),
        "RandARInpaint",
        (
            *COMMON,
            *(
                ("RandARInpaint", name)
                for name in "seed control_after_generate steps cfg denoise context grow_mask_by seam".split()
            ),
        ),
    ),
    Blueprint(
        "Panorama and Upscale (RandAR)",
        "07 Panorama",
        "Draws a picture of any width and height, window by window, and enlarges it.",
        ("RandARLoadModel", "RandARClass", "RandARCanvas", "VAEDecode", "ImageScaleBy"),
        "ImageScaleBy",
        (
            *COMMON,
            *(("RandARCanvas", name) for name in "width height seed control_after_generate steps cfg".split()),
            ("ImageScaleBy", "scale_by"),
        ),
    ),
)


def main() -> None:
    (ROOT / "subgraphs").mkdir(exist_ok=True)
    for blueprint in BLUEPRINTS:
        text = (ROOT / "workflows" / f"{blueprint.workflow}.json").read_text(encoding="utf-8")
        file = ROOT / "subgraphs" / f"{blueprint.name}.json"
        file.write_text(
            json.dumps(made(blueprint, json.loads(text)), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def made(blueprint: Blueprint, workflow: dict) -> dict:
    """The file of a blueprint: a workflow of one node, and the subgraph that it stands for."""
    nodes = copy.deepcopy([node for node in workflow["nodes"] if node["type"] in blueprint.nodes])
    first = {}  # of each type: a workflow may hold another model or class further on
    for node in sorted(nodes, key=lambda node: node["id"]):
        first.setdefault(node["type"], node)
    nodes, ids = list(first.values()), {node["id"] for node in first.values()}
    between = [link for link in workflow["links"] if link[1] in ids and link[3] in ids]
    entering = [link for link in workflow["links"] if link[1] not in ids and link[3] in ids]
    last = max(link[0] for link in workflow["links"])
    result = first[blueprint.output]
    output_type = result["outputs"][0]["type"]
    links = [
        *between,
        *([link[0], INPUTS, slot, *link[3:]] for slot, link in enumerate(entering)),
        [last + 1, result["id"], 0, OUTPUTS, 0, output_type],
    ]
    keep_links(nodes, links)
    draw_together(nodes)
    name = str(uuid.uuid5(uuid.NAMESPACE_URL, f"randar/{blueprint.name}"))
    left, top = (min(node["pos"][axis] for node in nodes) for axis in (0, 1))
    right = max(node["pos"][0] + node["size"][0] for node in nodes)
    inputs = [
        slot_of(name, first_named(nodes, link), link[5], link[0], [left - AWAY, top + SLOT * place])
        for place, link in enumerate(entering)
    ]
    outputs = [slot_of(name, output_type, output_type, last + 1, [right + AWAY, top])]
    subgraph = {
        "id": name,
        "version": 1,
        "state": {
            "lastGroupId": 0,
            "lastNodeId": max(ids),
            "lastLinkId": last + 1,
            "lastRerouteId": 0,
        },
        "revision": 0,
        "config": {},
        "name": blueprint.name,
        "inputNode": {"id": INPUTS, "bounding": end_box(left - AWAY - END_WIDTH, top, len(inputs))},
        "outputNode": {"id": OUTPUTS, "bounding": end_box(right + AWAY, top, 1)},
        "inputs": inputs,
        "outputs": outputs,
        "widgets": [],
        "nodes": nodes,
        "groups": [],
        "links": [
            dict(zip(("id", "origin_id", "origin_slot", "target_id", "target_slot", "type"), link, strict=True))
            for link in links
        ],
        "extra": {},
        "category": "RandAR",
        "description": blueprint.description,
    }
    outside = {
        "id": 1,
        "type": name,
        "pos": [100, 100],
        "size": [320, 60 + 24 * len(blueprint.widgets)],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [{"name": slot["name"], "type": slot["type"], "link": None} for slot in inputs],
        "outputs": [{"name": slot["name"], "type": slot["type"], "links": []} for slot in outputs],
        "properties": {"proxyWidgets": [[str(first[kind]["id"]), widget] for kind, widget in blueprint.widgets]},
        "widgets_values": [],
        "title": blueprint.name,
    }
    return {
        "revision": 0,
        "last_node_id": 1,
        "last_link_id": 0,
        "nodes": [outside],
        "links": [],
        "version": 0.4,
        "definitions": {"subgraphs": [subgraph]},
        "extra": {},
    }


def keep_links(nodes: list[dict], links: list[list]) -> None:
    """Leave no other link than `links` in the slots of `nodes`."""
    kept = {link[0] for link in links}
    for node in nodes:
        for slot in node["inputs"]:
            if slot.get("link") not in kept:
                slot["link"] = None
        for place, slot in enumerate(node["outputs"]):
            slot["links"] = [link[0] for link in links if link[1:3] == [node["id"], place]]


def draw_together(nodes: list[dict]) -> None:
    """Place `nodes` column beside column, as they lie in their workflow, without the gaps that the others leave."""
    columns: dict[float, list[dict]] = {}
    for node in sorted(nodes, key=lambda node: node["pos"]):
        columns.setdefault(node["pos"][0], []).append(node)
    x, top = min(columns), min(node["pos"][1] for node in nodes)
    for column in columns.values():
        y = top
        for node in column:
            node["pos"] = [x, y]
            y += node["size"][1] + ROOM
        x += max(node["size"][0] for node in column) + GAP


def first_named(nodes: list[dict], link: list) -> str:
    """The name of the input that a link leads to."""
    return next(node for node in nodes if node["id"] == link[3])["inputs"][link[4]]["name"]


def slot_of(graph: str, name: str, kind: str, link: int, position: list[float]) -> dict:
    identity = str(uuid.uuid5(uuid.UUID(graph), name))
    return {"id": identity, "name": name, "type": kind, "linkIds": [link], "pos": position}


def end_box(left: float, top: float, slots: int) -> list[float]:
    return [left, top - SLOT, END_WIDTH, 40 + SLOT * slots]


if __name__ == "__main__":
    main()
