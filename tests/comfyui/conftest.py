"""One real server for all tests of this folder, with the pack linked into its custom_nodes, and one page of it."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent


def module(name: str) -> ModuleType:
    """A file of this folder. The folder isn't on sys.path, where `server` would hide ComfyUI's own module."""
    spec = importlib.util.spec_from_file_location(f"comfyui_{name}", HERE / f"{name}.py")
    if spec.name not in sys.modules:
        sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[spec.name])
    return sys.modules[spec.name]


@pytest.fixture(scope="session")
def models():
    return module("random_models")


@pytest.fixture(scope="session")
def browser():
    return module("browser")


@pytest.fixture(scope="session")
def layout():
    return module("layout")


@pytest.fixture(scope="session")
def server(tmp_path_factory, models):
    comfyui = os.environ.get("COMFYUI_DIR")
    if not comfyui:
        pytest.skip("COMFYUI_DIR names no ComfyUI")
    base = tmp_path_factory.mktemp("comfyui")
    for folder in ("custom_nodes", "input", "models/randar"):
        (base / folder).mkdir(parents=True)
    (base / "custom_nodes" / "any-name").symlink_to(HERE.parent.parent)
    models.save_small(base / "models/randar/tiny.safetensors", 64, 2)
    models.save_small(base / "models/randar/large.safetensors", 512, 16)
    (base / "models/randar/broken.safetensors").write_bytes(b"\x20\x00")
    python = os.environ.get("COMFYUI_PYTHON") or sys.executable
    with module("server").Server(Path(comfyui).resolve(), python, base) as server:
        yield server


@pytest.fixture(scope="session")
def page(server, models, browser):
    """ComfyUI's page in headless Chromium, with stand-ins for the models that workflows ask for."""
    pytest.importorskip(
        "playwright", reason="Workflows were not opened in a browser: that takes `pip install playwright`"
    )
    chromium = browser.chromium()
    if not chromium:
        pytest.skip("Workflows were not opened in a browser: no Chromium was found; CHROMIUM names one")
    models.save_released(server.base / "models")
    with browser.open_page(server, chromium) as page:
        yield page
