"""`randar features`."""

import numpy as np
import pytest
import tiny
import torch

from randar_core.cli import main
from randar_core.io.images import read_pixels, save_png


@pytest.fixture
def pictures(tmp_path):
    paths = [tmp_path / f"{name}.png" for name in ("a", "b", "c")]
    for index, path in enumerate(paths):
        save_png(path, torch.rand(3, 9 + index, 20, generator=torch.Generator().manual_seed(index)))
    return [str(path) for path in paths]


def test_features_are_written_as_numbers_and_as_a_map(tmp_path, pictures, capsys):
    model = tiny.bundle(tmp_path / "m.safetensors")
    out = tmp_path / "out"
    words = ["features", *pictures, "--model", model, "--out", str(out), "--device", "cpu"]
    assert main(words) == 0
    with np.load(out / "features.npz") as found:
        assert found["features"].shape == (3, 4, 4, 32) and list(found["names"]) == pictures
        once = found["features"]
    assert min(read_pixels(out / "features.png").shape[2:]) > 256
    assert "layer 1" in capsys.readouterr().out
    assert main(words) == 2 and "--force" in capsys.readouterr().err
    assert main([*words, "--force", "--passes", "1"]) == 0
    with np.load(out / "features.npz") as found:
        assert not np.allclose(found["features"], once)


def test_a_layer_that_is_not_there_is_refused(tmp_path, pictures, capsys):
    model = tiny.bundle(tmp_path / "m.safetensors")
    assert main(["features", *pictures, "--model", model, "--out", str(tmp_path / "o"), "--layer", "9"]) == 2
    assert "layer 9" in capsys.readouterr().err
