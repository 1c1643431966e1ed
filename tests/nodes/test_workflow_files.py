"""The files in workflows/, without a ComfyUI: complete, readable, and in step with the nodes."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageColor

WORKFLOWS = sorted((Path(__file__).parents[2] / "workflows").glob("*.json"))
CANVAS = {"dark": (23, 23, 23), "light": (214, 214, 214)}  # of ComfyUI's themes
LEAST_CONTRAST = 1.8  # of a title on its bar: what most of the colours that ComfyUI offers for groups have in both


def tool(name: str):
    """A module of tests/comfyui/, which is not on the path."""
    file = Path(__file__).parents[1] / "comfyui" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"comfyui_{name}", file)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


layout, choices = tool("layout"), tool("choices")


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def workflow(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_workflow_has_its_picture_and_a_note(path, workflow):
    file = path.with_suffix(".jpg")
    assert file.stat().st_size < 150_000
    with Image.open(file) as picture:
        assert (picture.format, picture.size) == ("JPEG", (512, 512))
    assert any(node["type"] in layout.NOTES for node in workflow["nodes"])
    assert workflow["groups"]


def test_a_workflow_shows_what_is_chosen_for_it(path, workflow):
    assert choices.chosen(path.stem, workflow) == workflow, "Write it again: see tests/comfyui/choices.py"


def test_a_choice_for_a_widget_that_a_node_does_not_have_is_refused(monkeypatch):
    name = "01 Generate"
    workflow = json.loads((WORKFLOWS[0].parent / f"{name}.json").read_text(encoding="utf-8"))
    choice = replace(choices.CHOICES[name], widgets={4: {"sede": 1}})
    monkeypatch.setitem(choices.CHOICES, name, choice)
    with pytest.raises(KeyError, match="node 4 has no widget sede"):
        choices.chosen(name, workflow)


def test_what_is_chosen_is_for_the_workflows_of_the_built_in_model():
    files = {path.stem: json.loads(path.read_text(encoding="utf-8"))["nodes"] for path in WORKFLOWS}
    models = {
        name: {node["widgets_values"][0] for node in nodes if node["type"] == "RandARLoadModel"}
        for name, nodes in files.items()
    }
    assert set(choices.CHOICES) == {name for name, loaded in models.items() if loaded == {"built-in"}}


def test_classes_are_those_that_the_class_node_lists(pack, workflow):
    options = pack.module("nodes.classes").listed_classes()
    chosen = [node["widgets_values"][0] for node in workflow["nodes"] if node["type"] == "RandARClass"]
    listed = [node["widgets_values"][0] for node in workflow["nodes"] if node["type"] == "RandARClassList"]
    builtin = [name for label in options if (name := label.removeprefix("built-in: ")) != label]
    assert set(chosen) <= set(options)
    assert all(names.split(", ") == builtin for names in listed)


def test_no_node_covers_another_or_leaves_its_group(workflow):
    assert layout.overlaps(workflow["nodes"]) == []
    assert layout.strays(workflow["nodes"], workflow["groups"]) == []


def test_titles_of_groups_end_within_them_and_can_be_read_in_both_themes(workflow):
    assert layout.long_titles(workflow["groups"]) == []
    for group in workflow["groups"]:
        colour = ImageColor.getrgb(group["color"])
        for theme, canvas in CANVAS.items():
            bar = [below * 0.75**2 + above * (1 - 0.75**2) for below, above in zip(canvas, colour, strict=True)]
            assert contrast(colour, bar) > LEAST_CONTRAST, (group["title"], theme)


def contrast(one, other) -> float:
    """As the WCAG define it, of two colours of 0 to 255."""

    def luminance(colour) -> float:
        linear = [(value / 255 + 0.055) / 1.055 for value in colour]
        return sum(share * value**2.4 for share, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_a_note_has_nothing_that_a_look_shows_wrong(workflow):
    for note in (node["widgets_values"][0] for node in workflow["nodes"] if node["type"] in layout.NOTES):
        # Nodes 2.0 show inline code in blue on a note's brown in the dark theme, which nobody can read.
        assert "`" not in note
        # Ordinary nodes show no space where a line ends within a paragraph.
        assert "\n" not in note.replace("\n\n", "")


def test_a_layout_has_room_for_nodes_that_have_grown(workflow):
    sizes = {str(node["id"]): (node["size"][0] + 50, node["size"][1] + 300) for node in workflow["nodes"]}
    moved = layout.laid_out(workflow, sizes, sizes)
    for node in moved["nodes"]:
        if node["type"] not in layout.NOTES:
            node["size"] = list(sizes[str(node["id"])])
    assert layout.overlaps(moved["nodes"]) == []
    assert layout.strays(moved["nodes"], moved["groups"]) == []


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
    assert unused == {"RandARDownloadModel", "RandARGuidance", "RandAROrder", "RandARHeatMap", "RandARClassBlend"}
