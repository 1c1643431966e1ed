from pathlib import Path

import pytest
import tiny
from tiny_cli import run
from tiny_pictures import class_folders


@pytest.fixture(scope="session")
def bundle(tmp_path_factory) -> str:
    return tiny.bundle(tmp_path_factory.mktemp("models") / "tiny.safetensors")


@pytest.fixture(scope="session")
def one_class(tmp_path_factory) -> str:
    """A model that draws a single class."""
    return tiny.bundle(tmp_path_factory.mktemp("models") / "one.safetensors", classes=1)


@pytest.fixture
def picture(bundle, tmp_path) -> Path:
    run("generate", "fish", "--model", bundle, "--out", tmp_path)
    return tmp_path / "00000_fish.png"


@pytest.fixture
def pictures(tmp_path) -> Path:
    return class_folders(tmp_path / "pictures")
