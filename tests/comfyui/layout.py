"""Where the nodes of a workflow lie, so that none covers another, whatever size it has after a run with previews."""

import copy
from itertools import combinations

TITLE = 30  # pixels of a node's title, which lies above its position
LEFT, TOP = 430, 100  # of the first group
HEAD, PADDING = 80, 20  # from the edge of a group to the position of a node
GAP, ROW_GAP = 60, 80  # between nodes and between groups next to one another; between rows of groups
LETTER = 9.2  # pixels of a group's title for each of its letters, on average
LEAST_SCALE = 0.6  # below it ComfyUI leaves out all text
NOTES = {"Note", "MarkdownNote"}

Size = tuple[float, float]


def laid_out(workflow: dict, sizes: dict[str, Size], opened_sizes: dict[str, Size]) -> dict:
    """`workflow` with its nodes moved and its groups drawn around them.

    `sizes` and `opened_sizes` are (width, height) by node id, these with all inputs shown: a node that others lie below
    has room for them, the lowest ones may reach beyond their group then. What lies in one column of a group, and which
    groups form a row, stays as it was: nodes of one x, groups of one top edge. Nothing but positions, groups and the
    view changes.
    """
    workflow = copy.deepcopy(workflow)
    rows: dict[float, list[dict]] = {}
    for group in sorted(workflow["groups"], key=lambda group: group["bounding"][:2][::-1]):
        rows.setdefault(group["bounding"][1], []).append(group)
    members = [[node for node in workflow["nodes"] if starts_in(node, group)] for group in workflow["groups"]]
    of_group = {group["id"]: nodes for group, nodes in zip(workflow["groups"], members, strict=True)}
    y = TOP
    for row in rows.values():
        x = LEFT
        for group in row:
            width, height = place_nodes(of_group[group["id"]], sizes, opened_sizes, x, y)
            group["bounding"] = [x, y, width, height]
            x += width + GAP
        y += max(group["bounding"][3] for group in row) + ROW_GAP
    workflow["extra"]["ds"] = view_of(workflow)
    return workflow


def starts_in(node: dict, group: dict) -> bool:
    (x, y), (left, top, width, height) = node["pos"], group["bounding"]
    return left <= x < left + width and top <= y < top + height


def place_nodes(
    nodes: list[dict], sizes: dict[str, Size], opened_sizes: dict[str, Size], left: float, top: float
) -> Size:
    """Place the nodes of a group at (left, top), column by column; the group's width and height."""
    columns: dict[float, list[dict]] = {}
    for node in sorted(nodes, key=lambda node: node["pos"]):
        columns.setdefault(node["pos"][0], []).append(node)
    x, bottom = left + PADDING, top
    for column in columns.values():
        y = top + HEAD
        for node in column:
            node["pos"] = [x, y]
            height = (sizes if node is column[-1] else opened_sizes)[str(node["id"])][1]
            y += height + GAP
        x += max(sizes[str(node["id"])][0] for node in column) + GAP
        bottom = max(bottom, y - GAP)
    return x - GAP + PADDING - left, bottom + PADDING - top


def view_of(workflow: dict) -> dict:
    """Scale and offset with which a workflow is seen in a window of 1600×1000 pixels: all of it, if it can be read."""
    notes = [[*node["pos"], *node["size"]] for node in workflow["nodes"] if node["type"] in NOTES]
    boxes = notes + [group["bounding"] for group in workflow["groups"]]
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    width = max(box[0] + box[2] for box in boxes) - left
    height = max(box[1] + box[3] for box in boxes) - top
    scale = round(max(LEAST_SCALE, min(1410 / width, 825 / height, 1)), 3)
    return {"scale": scale, "offset": [round(95 / scale - left), round(113 / scale - top)]}


def overlaps(nodes: list[dict]) -> list[tuple[str, str]]:
    """The pairs of nodes of which one covers a part of the other, by their types."""
    found = []
    for a, b in combinations(nodes, 2):
        (ax, ay), (bx, by) = a["pos"], b["pos"]
        side_by_side = ax + a["size"][0] <= bx or bx + b["size"][0] <= ax
        one_below = ay + a["size"][1] <= by - TITLE or by + b["size"][1] <= ay - TITLE
        if not (side_by_side or one_below):
            found.append((a["type"], b["type"]))
    return found


def strays(nodes: list[dict], groups: list[dict]) -> list[str]:
    """The types of the nodes, notes apart, that no group holds as a whole."""

    def holds(group: dict, node: dict) -> bool:
        left, top, width, height = group["bounding"]
        (x, y), (wide, high) = node["pos"], node["size"]
        return left <= x and x + wide <= left + width and top <= y - TITLE and y + high <= top + height

    return [
        node["type"] for node in nodes if node["type"] not in NOTES and not any(holds(group, node) for group in groups)
    ]


def long_titles(groups: list[dict]) -> list[str]:
    """The titles of the groups that end beyond the group, perhaps on the title of the next one."""
    return [group["title"] for group in groups if LETTER * len(group["title"]) + PADDING > group["bounding"][2]]
