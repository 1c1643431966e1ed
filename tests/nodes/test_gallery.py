"""The gallery: it has every node, and its page is in step with the script that makes it."""

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
LARGEST = 1_000_000  # bytes of all its pictures together


@pytest.fixture(scope="module")
def gallery():
    spec = importlib.util.spec_from_file_location("make_gallery", DOCS / "make_gallery.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_node_has_a_picture_or_nothing_to_show(pack, gallery):
    shown = {node for entry in gallery.ENTRIES for node in entry.nodes}
    assert shown | set(gallery.NOTHING_TO_SHOW) == set(pack.nodes)
    assert not shown & set(gallery.NOTHING_TO_SHOW)


def test_every_picture_has_a_seed_an_alt_text_and_one_sentence(gallery):
    names = [entry.name for entry in gallery.ENTRIES]
    assert len(set(names)) == len(names) and set(gallery.SEEDS) == set(names)
    assert all(entry.alt and entry.sentence.endswith(".") for entry in gallery.ENTRIES)
    assert not [entry.name for entry in gallery.ENTRIES if ". " in entry.sentence]


def test_its_classes_are_those_of_the_model_that_ships(pack, gallery):
    drawn = {gallery.VIEW, gallery.SEA, gallery.TOWN, gallery.SKY, gallery.THING, gallery.OTHER, gallery.BOAT}
    drawn |= {gallery.FLYING, gallery.TOWER, gallery.PLANT}
    assert drawn <= set(pack.module("randar_core.procedural.landscape.pictures").CLASSES)


def test_the_page_is_what_the_script_writes(pack, gallery):
    names = {node_id: node.GET_SCHEMA().display_name for node_id, node in pack.nodes.items()}
    assert (DOCS / "gallery.md").read_text(encoding="utf-8") == gallery.page(names)


def test_its_pictures_are_small_and_all_of_them_are_shown(gallery):
    pictures = list((DOCS / "gallery").glob("*"))
    assert {picture.name for picture in pictures} == {f"{entry.name}.jpg" for entry in gallery.ENTRIES}
    assert sum(picture.stat().st_size for picture in pictures) < LARGEST
