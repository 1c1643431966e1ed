from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from tiny_pictures import class_folders


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> Callable:
    """The folder and the network of a training that was not cut, by the function that runs it. Each runs once."""

    @cache
    def run_once(run: Callable) -> tuple[Path, torch.nn.Module]:
        folder = tmp_path_factory.mktemp("whole")
        return folder, run(folder)

    return run_once


@pytest.fixture
def pictures(tmp_path) -> Path:
    return class_folders(tmp_path / "pictures")
