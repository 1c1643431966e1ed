"""What the tests of several rooms share: the node pack in its host, and a tiny model that it has loaded."""

import gc
import importlib.util
from pathlib import Path

import pytest
from own_process import RARELY

if importlib.util.find_spec("hypothesis"):  # ComfyUI's own Python has none
    from hypothesis import settings

    # No example has a deadline: several workers share the machine, with whatever else runs there.
    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")


# Files that take seconds begin first, so that no worker is left alone with one at the end.
LONGEST = (
    "devices",
    "benchmarks",
    "tasks/test_same_pictures.py",
    "training",
    "cli",
    "test_public_face.py",
    "test_golden.py",
)


def pytest_collection_modifyitems(items):
    longest = tuple((Path(__file__).parent / name).as_posix() for name in LONGEST)
    items.sort(key=lambda item: not item.path.as_posix().startswith(longest))


def pytest_collection_finish():
    # What the modules hold lives as long as the process: collections needn't look through it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*RARELY)


# torch is imported by what needs it: the process that hands the tests to the workers runs none of them.
@pytest.fixture(scope="session")
def pack(tmp_path_factory):
    from node_pack import load_pack

    return load_pack(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def tiny(pack) -> Path:
    """A bundle of random weights in the models folder: 4×4 cells, 16×16 pixels, 3 classes."""
    from node_pack import tiny_bundle

    return tiny_bundle(pack)


@pytest.fixture(scope="session")
def model(pack, tiny):
    # In float32 on every machine: 16 bits round otherwise in other batches.
    return pack.run("RandARLoadModel", model_name=tiny.name, weight_dtype="fp32")[0]


@pytest.fixture
def reports(pack, monkeypatch):
    """What a run tells ComfyUI: value, total and preview of each report."""
    import comfy.utils

    seen = []
    monkeypatch.setattr(
        comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, preview, **_: seen.append((value, total, preview))
    )
    return seen
