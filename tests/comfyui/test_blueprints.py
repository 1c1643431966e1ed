"""Every blueprint of `subgraphs/` in the real page: found by its name, placed as a node, connected and run."""

from pathlib import Path

import pytest

BLUEPRINTS = sorted((Path(__file__).parents[2] / "subgraphs").glob("*.json"))
# Give the only node on the canvas the picture and the mask that it asks for, and save what it puts out.
CONNECT = """() => {
    const [node] = app.graph._nodes;
    const add = (type, values) => {
        const added = LiteGraph.createNode(type);
        app.graph.add(added);
        for (const [name, value] of Object.entries(values))
            added.widgets.find(widget => widget.name === name).value = value;
        return added;
    };
    const sources = {IMAGE: ['EmptyImage', {width: 160, height: 128}], MASK: ['SolidMask', {width: 160, height: 128}]};
    for (const [place, {type}] of node.inputs.entries())
        if (sources[type]) add(...sources[type]).connect(0, node, place);
    node.connect(0, add('SaveImage', {}), 0);
}"""
VALUES = "() => Object.fromEntries(app.graph._nodes[0].widgets.map(widget => [widget.name, widget.value]))"


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
def test_a_blueprint_is_offered_as_a_node_and_draws(server, page, browser, path):
    browser.place_node(page, path.stem)
    assert {"model_name", "class_name", "seed", "steps", "cfg"} <= set(page.evaluate(VALUES))
    page.evaluate(CONNECT)
    assert page.evaluate(browser.INVALID) == []
    run = browser.run_workflow(page, server)
    assert run.status == "success", run.message
    assert [image for output in run.outputs.values() for image in output.get("images", ())]
