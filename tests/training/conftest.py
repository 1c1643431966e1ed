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


@pytest.fixture
def pictures(tmp_path) -> Path:
    return class_folders(tmp_path / "pictures")
