"""ComfyUI's page in headless Chromium, with live previews on."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

TIMEOUT = 600_000  # milliseconds; a busy machine takes its time

# Without these Chromium asks the internet for this and that.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
ARGUMENTS += ["--disable-component-update", "--disable-sync"]

# A user who has seen the page before: a new one is shown a template of ComfyUI's own, which comes late and in the way.
SETTINGS = {"Comfy.TutorialCompleted": True, "Comfy.Execution.PreviewMethod": "auto"}
NODES_2 = "Comfy.VueNodes.Enabled"

STARTED = "() => window.app?.graph?._nodes.length && window.app.extensionManager?.workflow?.activeWorkflow"
INVALID = """() => app.graph._nodes.flatMap(node => {
    if (!LiteGraph.registered_node_types[node.type]) return [node.type + ' is missing'];
    const wrong = (node.has_errors || node.color === '#f00') ? [node.type + ' is red'] : [];
    for (const widget of node.widgets || []) {
        const {values, min, max} = widget.options || {};
        const choices = typeof values === 'function' ? values(widget, node) : values;
        if (widget.type === 'combo' && Array.isArray(choices) && !choices.includes(widget.value))
            wrong.push(`${node.type}: ${widget.name} has no choice ${widget.value}`);
        if (widget.type === 'number' && (widget.value < min || widget.value > max || isNaN(widget.value)))
            wrong.push(`${node.type}: ${widget.name} is ${widget.value}`);
    }
    return wrong;
})"""
RUN = """() => {
    const run = window.randarRun = {status: '', prompt: '', previews: 0};
    const preview = () => { run.previews += 1; };
    const ended = {execution_success: 'success', execution_error: 'error', execution_interrupted: 'interrupted'};
    app.api.addEventListener('b_preview_with_metadata', preview);
    for (const [event, status] of Object.entries(ended))
        app.api.addEventListener(event, ({detail}) => {
            app.api.removeEventListener('b_preview_with_metadata', preview);
            Object.assign(run, {status, prompt: detail.prompt_id, message: detail.exception_message});
        }, {once: true});
    let queued = false;
    app.api.addEventListener('promptQueued', () => { queued = true; }, {once: true});
    return app.queuePrompt(0).then(() => { if (!queued) run.status = 'refused'; });
}"""
SHOWN = """() => app.graph._nodes.filter(node => ['SaveImage', 'PreviewImage'].includes(node.type))
    .every(node => node.imgs?.length && node.imgs.every(image => image.complete && image.naturalWidth))"""
LAYOUT = """() => ({
    nodes: app.graph._nodes.map(({id, type, pos, size}) => ({id: String(id), type, pos: [...pos], size: [...size]})),
    groups: app.graph._groups.map(({title, pos, size}) => ({title, bounding: [...pos, ...size]})),
})"""
DRAWN_AS_NODES_2 = "() => app.graph._nodes.every(node => document.querySelector(`[data-node-id='${node.id}']`))"


@dataclass
class PageRun:
    """How a run from the page went: `outputs` are those of the server's history, by node id.

    `status` is success, error, interrupted, or refused where the server or the page found something wrong at once.
    """

    status: str
    previews: int
    message: str
    outputs: dict


def chromium() -> str | None:
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


@contextmanager
def open_page(server, executable: str, **settings) -> Iterator:
    """The page of `server` with ordinary nodes, unless `settings`, by ComfyUI's names, say otherwise."""
    from playwright.sync_api import sync_playwright

    server.post("/api/settings", SETTINGS | {NODES_2: False} | settings)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(TIMEOUT)
        page.goto(server.url("/"), wait_until="domcontentloaded")
        page.wait_for_function(STARTED)
        yield page
        browser.close()


def open_workflow(page, workflow: dict) -> None:
    page.evaluate("workflow => app.loadGraphData(workflow)", workflow)
    page.wait_for_function("count => app.graph._nodes.length === count", arg=len(workflow["nodes"]))


def place_node(page, name: str) -> None:
    """Place a node on the canvas, now empty, as a user does who searches for its `name`."""
    page.evaluate("() => { app.graph.clear(); app.canvas.setDirty(true, true); }")
    page.evaluate("() => app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
    page.wait_for_function("() => document.activeElement.tagName === 'INPUT'")  # before, letters are shortcuts
    page.keyboard.type(name)
    page.get_by_text(name, exact=True).first.wait_for()
    page.keyboard.press("Enter")
    page.mouse.move(620, 480)  # it hangs on the mouse
    page.mouse.click(620, 480)
    page.wait_for_function("() => app.graph._nodes.length === 1")


def run_workflow(page, server) -> PageRun:
    """Run the open workflow as the page's button does, up to its last picture."""
    page.evaluate(RUN)
    page.wait_for_function("() => window.randarRun.status")
    run = page.evaluate("() => window.randarRun")
    outputs = {}
    if run["status"] == "success":
        fit_view(page)  # the page loads the pictures of a node once it draws it
        page.wait_for_function(SHOWN)
        outputs = server.get(f"/history/{run['prompt']}")[run["prompt"]]["outputs"]
    return PageRun(run["status"], run["previews"], run.get("message") or "", outputs)


def use_nodes_2(page, enabled: bool) -> None:
    page.evaluate("([name, on]) => app.extensionManager.setting.set(name, on)", [NODES_2, enabled])
    if enabled:
        fit_view(page)
        page.wait_for_function(DRAWN_AS_NODES_2)


def show_advanced_inputs(page) -> None:
    page.evaluate("() => app.graph._nodes.forEach(node => { node.showAdvanced = true; })")


def fit_view(page) -> None:
    """Show all nodes; the command alone shows those that are selected, as a node is that was just placed."""
    page.evaluate("() => app.canvas.deselectAll()")
    page.evaluate("() => app.extensionManager.command.execute('Comfy.Canvas.FitView')")


def settled_layout(page) -> dict:
    """Nodes and groups as they lie in the page, once they have stopped growing."""
    before, deadline = None, time.monotonic() + TIMEOUT / 1000
    while time.monotonic() < deadline:
        layout = page.evaluate(LAYOUT)
        if layout == before:
            return layout
        before = layout
        page.wait_for_timeout(1000)
    raise TimeoutError(f"The page is still moving its nodes: {json.dumps(before)}")
