"""Every workflow in the real server and in a real browser: opened, run with previews, and seen to draw."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image

WORKFLOWS = sorted((Path(__file__).parents[2] / "workflows").glob("*.json"))
STEPS = 4  # of RandAR-L; those of the workflow take minutes on a CPU
FEWER_STEPS = """steps => {
    const sampler = app.graph._nodes.find(node => node.type === 'RandARSampler');
    sampler.widgets.find(widget => widget.name === 'steps').value = steps;
}"""


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_opens_runs_and_draws_and_no_node_covers_another(server, page, browser, layout, path, tmp_path):
    workflow = json.loads(path.read_text(encoding="utf-8"))
    browser.open_workflow(page, workflow)
    assert page.evaluate(browser.INVALID) == []
    # The same values in the same places: nothing was lost or shifted on the way through the page.
    opened = page.evaluate("() => app.graph.serialize().nodes.map(node => [node.id, node.widgets_values || []])")
    assert sorted(opened) == sorted([node["id"], node.get("widgets_values", [])] for node in workflow["nodes"])

    if path.stem.endswith("RandAR-L"):
        page.evaluate(FEWER_STEPS, STEPS)
    run = browser.run_workflow(page, server)
    assert run.status == "success", run.message
    pictures = [server.view(image) for output in run.outputs.values() for image in output.get("images", ())]
    assert pictures and all(min(Image.open(io.BytesIO(picture)).size) >= 128 for picture in pictures)
    assert run.previews
    assert page.evaluate(browser.INVALID) == []

    looks = {}
    looks["ordinary nodes"] = browser.settled_layout(page)
    browser.use_nodes_2(page, True)
    looks["Nodes 2.0"] = browser.settled_layout(page)
    browser.show_advanced_inputs(page)
    looks["Nodes 2.0 with advanced inputs"] = browser.settled_layout(page)
    page.screenshot(path=tmp_path / f"{path.stem}.png")
    browser.use_nodes_2(page, False)
    for look, found in looks.items():
        assert layout.overlaps(found["nodes"]) == [], look
        if "advanced" not in look:
            assert layout.strays(found["nodes"], found["groups"]) == [], look
