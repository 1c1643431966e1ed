"""The files in subgraphs/: in step with the workflows that they are made from."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("make_blueprints", ROOT / "tests/comfyui/make_blueprints.py")
make_blueprints = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_blueprints)


@pytest.mark.parametrize("blueprint", make_blueprints.BLUEPRINTS, ids=lambda blueprint: blueprint.name)
def test_a_blueprint_is_what_its_workflow_makes_of_it(blueprint):
    workflow = json.loads((ROOT / "workflows" / f"{blueprint.workflow}.json").read_text(encoding="utf-8"))
    file = ROOT / "subgraphs" / f"{blueprint.name}.json"
    assert json.loads(file.read_text(encoding="utf-8")) == make_blueprints.made(blueprint, workflow), (
        "Make it again: .venv/bin/python tests/comfyui/make_blueprints.py"
    )


@pytest.mark.parametrize("blueprint", make_blueprints.BLUEPRINTS, ids=lambda blueprint: blueprint.name)
def test_a_blueprint_shows_widgets_that_its_nodes_have(blueprint):
    workflow = json.loads((ROOT / "workflows" / f"{blueprint.workflow}.json").read_text(encoding="utf-8"))
    [graph] = make_blueprints.made(blueprint, workflow)["definitions"]["subgraphs"]
    widgets = {(node["type"], name) for node in graph["nodes"] for name in node.get("widgets_values_named", ())}
    assert set(blueprint.widgets) <= widgets


def test_no_other_file_is_offered_as_a_blueprint():
    expected = {f"{blueprint.name}.json" for blueprint in make_blueprints.BLUEPRINTS}
    assert {file.name for file in (ROOT / "subgraphs").iterdir()} == expected
