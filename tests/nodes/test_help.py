"""Help and locale say what the nodes say. To write them again: `UPDATE_HELP=1 pytest tests/nodes/test_help.py`."""

import json
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCALE = ROOT / "locales/en/nodeDefs.json"
DOCS = ROOT / "web/docs"
SECTIONS = ["Inputs", "Outputs", "Tips", "Example"]


@pytest.fixture(scope="module")
def schemas(pack):
    return [node.GET_SCHEMA() for node in pack.nodes.values()]


def locale_of(schemas) -> dict:
    """What ComfyUI's nodeDefs.json holds."""
    return {
        schema.node_id: {
            "display_name": schema.display_name,
            "description": schema.description,
            "inputs": {each.id: {"name": each.id, "tooltip": each.tooltip} for each in schema.inputs},
            "outputs": {
                str(i): {"name": each.display_name, "tooltip": each.tooltip} for i, each in enumerate(schema.outputs)
            },
        }
        for schema in schemas
    }


def lists_of(schema) -> str:
    """The sections of a page that list inputs and outputs. Lists, because ComfyUI's help panel is narrow."""
    inputs = [f"- `{each.id}`{default_of(each)}: {each.tooltip}" for each in schema.inputs]
    outputs = [f"- `{each.display_name}`: {each.tooltip}" for each in schema.outputs]
    return "\n".join(["## Inputs", "", *inputs, "", "## Outputs", "", *outputs, "", ""])


def default_of(socket) -> str:
    default = getattr(socket, "default", None)
    if default is None or default == "":
        return " (optional)" if socket.optional else ""
    return f" ({default})"


def row_of(pack, release) -> str:
    """A released transformer's row in the README's table: GiB of weights, MiB of state of a picture with guidance."""
    families, releases = (pack.module(f"randar_core.checkpoints.{name}") for name in ("families", "releases"))
    transformer = families.family_of(release.config).network(release.config, device="meta")
    half = release.parameters * 2 / 2**30
    state = transformer.state_bytes(rows=2, cells=release.config.grid**2, element_bytes=2) / 2**20
    files = f"`{release.file}`, `{releases.find_release(release.tokenizer).file}`"
    return (
        f"| {release.name} | {files} | {release.parameters / 1e6:.0f} M | {half:.1f} / {2 * half:.1f} GiB | "
        f"{state:.0f} MiB | {release.defaults.guidance:g} |"
    )


def section(page: str, title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else ""


def test_the_english_locale_says_what_the_nodes_say(schemas):
    expected = json.dumps(locale_of(schemas), indent=2, ensure_ascii=False) + "\n"
    if os.environ.get("UPDATE_HELP"):
        LOCALE.write_text(expected, encoding="utf-8")
    assert LOCALE.read_text(encoding="utf-8") == expected


def test_every_node_has_a_page_and_no_page_is_left_over(schemas):
    assert {page.stem for page in DOCS.glob("*.md")} == {schema.node_id for schema in schemas}


def test_every_page_lists_what_its_node_has(schemas):
    for schema in schemas:
        path = DOCS / f"{schema.node_id}.md"
        page = path.read_text(encoding="utf-8")
        if os.environ.get("UPDATE_HELP"):
            start, end = page.index("## Inputs"), page.index("## Tips")
            path.write_text(page := page[:start] + lists_of(schema) + page[end:], encoding="utf-8")
        assert page.startswith(f"# {schema.display_name}\n")
        assert re.findall(r"^## (.*)$", page, re.MULTILINE) == SECTIONS
        assert lists_of(schema) in page, f"{path.name} is out of date"
        assert section(page, "Tips") and section(page, "Example")


def test_every_input_and_output_has_a_tooltip_and_every_node_a_description_and_aliases(schemas):
    for schema in schemas:
        assert schema.description and schema.search_aliases, schema.node_id
        for each in [*schema.inputs, *schema.outputs]:
            assert each.tooltip, f"{schema.node_id}: {each.id or each.display_name}"


def test_the_readme_names_every_node(schemas):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for schema in schemas:
        assert f"| {schema.display_name} |" in readme


@pytest.mark.parametrize("name", ["README.md", "README.zh.md", "README.ko.md"])
def test_the_readme_names_every_class_of_the_built_in_model(pack, name):
    classes = pack.module("randar_core.procedural.landscape.pictures").CLASSES
    readme = (ROOT / name).read_text(encoding="utf-8").replace("\n", " ")
    paragraph = readme[readme.index(classes[0]) : readme.index("benchmarks/results/quality.md")]
    assert all(each in paragraph for each in classes)


def test_the_readme_names_every_released_model_with_its_size(pack):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for release in pack.module("randar_core.checkpoints.releases").RELEASES:
        if release.file and release.tokenizer:
            assert row_of(pack, release) in readme


def test_pictures_of_the_readme_exist_and_are_small():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pictures = {ROOT / name for name in re.findall(r"[(\"]((?:docs|web|workflows)/[^)\" ]+\.(?:jpg|png))[)\"]", readme)}
    assert pictures
    assert all(picture.stat().st_size < 150_000 for picture in pictures)
    assert sum(picture.stat().st_size for picture in pictures) < 1_000_000


def test_workflows_that_help_names_exist():
    named = {
        name
        for page in DOCS.glob("*.md")
        for sentence in re.findall(r"[Ww]orkflows?\s[^.:]*", page.read_text(encoding="utf-8"))
        for name in re.findall(r"\*(\d\d [^*]+)\*", sentence)
    }
    assert named
    assert named <= {path.stem for path in (ROOT / "workflows").glob("*.json")}
