"""Tiny networks, and a table of releases with their sizes."""

from dataclasses import replace

import pytest
from tiny_checkpoints import DECODER, LLAMAGEN, MASKGIT, filled

from randar_core.checkpoints import detect as detecting
from randar_core.checkpoints.releases import find_release
from randar_core.models.llamagen import LlamaGenTokenizer
from randar_core.models.randar import RandAR


@pytest.fixture(scope="module")
def decoder():
    return filled(RandAR(DECODER))


@pytest.fixture(scope="module")
def tokenizer():
    return filled(LlamaGenTokenizer(LLAMAGEN))


@pytest.fixture
def small_releases(monkeypatch):
    """The table of releases with sizes that tests can write: the tokenizers and one decoder each."""
    small = [
        replace(find_release("randar-l-llamagen"), config=DECODER),
        replace(find_release("llamagen-vq16"), config=LLAMAGEN),
        replace(find_release("maskgit-vqgan"), config=MASKGIT),
    ]
    monkeypatch.setattr(detecting, "RELEASES", small)
