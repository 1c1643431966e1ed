"""Every language says as much as English: locales/<language>/nodeDefs.json and web/docs/<NodeId>/<language>.md."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LANGUAGES = sorted(path.parent.name for path in ROOT.glob("locales/*/nodeDefs.json") if path.parent.name != "en")
PAGES = sorted((ROOT / "web/docs").glob("*/*.md"))


def texts_of(language: str) -> dict[str, str]:
    """Every text of a locale under its path, such as `RandARClass.inputs.classes.tooltip`."""
    nodes = json.loads((ROOT / f"locales/{language}/nodeDefs.json").read_text(encoding="utf-8"))
    return flatten(nodes)


def flatten(tree: dict, prefix: str = "") -> dict[str, str]:
    texts = {}
    for key, value in tree.items():
        texts |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return texts


def items_of(page: Path) -> list[int]:
    """How many list items each section of a help page has, of the first two: inputs and outputs."""
    sections = re.split(r"^## .*$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return [len(re.findall(r"^- ", section, re.MULTILINE)) for section in sections[:2]]


def name_of(page: Path) -> str:
    return f"{page.parent.name}/{page.name}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_locale_has_the_keys_of_the_english_one(language):
    assert texts_of(language).keys() == texts_of("en").keys()


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_of_a_locale_is_empty_or_still_english(language):
    english = texts_of("en")
    for path, text in texts_of(language).items():
        assert isinstance(text, str) and text.strip(), f"{path} is empty"
        assert len(text.split()) <= 3 or text != english[path], f"{path} is not translated"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_translated_page_has_the_title_of_its_locale_and_lists_as_many_inputs_and_outputs(page):
    title = texts_of(page.stem)[f"{page.parent.name}.display_name"]
    assert page.read_text(encoding="utf-8").startswith(f"# {title}\n")
    assert items_of(page) == items_of(page.parents[1] / f"{page.parent.name}.md")


def test_a_language_with_help_pages_has_one_for_every_node():
    nodes = {page.stem for page in (ROOT / "web/docs").glob("*.md")}
    for language in {page.stem for page in PAGES}:
        assert {page.parent.name for page in PAGES if page.stem == language} == nodes, language
