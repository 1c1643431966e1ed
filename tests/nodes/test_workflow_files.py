"""The files in workflows/, without a ComfyUI: complete, readable, and in step with the nodes."""

import json
from itertools import combinations
from pathlib import Path

import pytest

WORKFLOWS = sorted((Path(__file__).parents[2] / "workflows").glob("*.json"))
TITLE = 30  # pixels of a node's title, which lies above its position
NOTES = {"Note", "MarkdownNote"}


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def workflow(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_workflow_has_its_picture_and_a_note(path, workflow):
    picture = path.with_suffix(".jpg")
    assert picture.read_bytes()[:2] == b"\xff\xd8"
    assert picture.stat().st_size < 150_000
    assert any(node["type"] in NOTES for node in workflow["nodes"])
    assert workflow["groups"]


def test_no_node_lies_on_another(workflow):
    for a, b in combinations(workflow["nodes"], 2):
        (ax, ay), (bx, by) = a["pos"], b["pos"]
        side_by_side = ax + a["size"][0] <= bx or bx + b["size"][0] <= ax
        below = ay + a["size"][1] <= by - TITLE or by + b["size"][1] <= ay - TITLE
        assert side_by_side or below, (a["type"], b["type"])


def test_widgets_are_saved_in_the_order_of_the_schema(pack, workflow):
    ours = [node for node in workflow["nodes"] if node["type"].startswith("RandAR")]
    assert ours
    for node in ours:
        names = []
        linked = {each["name"] for each in node["inputs"] if "widget" not in each}
        for each in pack.nodes[node["type"]].GET_SCHEMA().inputs:
            if each.id not in linked:
                names += (
                    [each.id, "control_after_generate"] if getattr(each, "control_after_generate", None) else [each.id]
                )
        saved = node.get("widgets_values_named", {})
        assert list(saved) == names
        assert list(saved.values()) == node.get("widgets_values", [])


def test_files_that_must_be_fetched_are_named_with_where_they_lie(pack, workflow):
    releases = pack.module("randar_core.checkpoints.releases").RELEASES
    released = {release.file: release.url for release in releases if release.file}
    for node in workflow["nodes"]:
        named = {model["name"]: model for model in node["properties"].get("models", ())}
        if node["type"] == "RandARLoadModel" and node["widgets_values"][0] != "built-in":
            assert node["widgets_values"][0] in named
            assert len(named) == 2  # the decoder and its tokenizer
        for name, model in named.items():
            if model["directory"] == "randar":
                assert model["url"] == released[name]
            assert model["url"].startswith("https://huggingface.co/") and model["url"].endswith(name)


def test_every_node_of_the_pack_is_in_a_workflow_or_needs_none(pack):
    used = {node["type"] for path in WORKFLOWS for node in json.loads(path.read_text(encoding="utf-8"))["nodes"]}
    unused = set(pack.nodes) - used
    # A download is done once. The others can replace a node that is used, and their help has an example.
    assert unused == {
        "RandARDownloadModel",
        "RandARGuidance",
        "RandAROrder",
        "RandARHeatMap",
        "RandARClassBlend",
        "RandARFeatureMap",
        "RandARFeatureMatch",
    }
