"""Files of weights: what is read, and what is said of every kind of other file."""

import argparse
import os
import pickle
from pathlib import Path

import pytest
import torch
from tiny_checkpoints import same_weights, save_raw

from randar_core.checkpoints.model import load_tokenizer, load_transformer
from randar_core.checkpoints.weights import CheckpointError, read_weights


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.001, 0.5, 0.999])
def test_a_truncated_safetensors_file_is_named(tmp_path, decoder, share):
    path = save_raw(tmp_path / "d.safetensors", decoder)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match="d.safetensors' is (empty|cut or damaged|not a safetensors file)"):
        read_weights(path)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_pickle_is_named(tmp_path, decoder, zipped, share):
    path = tmp_path / "d.pt"
    torch.save(decoder.state_dict(), path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match="d.pt' is (empty|a cut or damaged PyTorch checkpoint)"):
        read_weights(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>", "is a web page"),
        (os.urandom(300), "is (not a safetensors file|cut or damaged|named .safetensors)"),
    ],
)
def test_a_file_that_is_something_else_is_told_what_it_is(tmp_path, content, message):
    path = tmp_path / "f.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_weights(path)


def test_a_pickle_under_a_safetensors_name_is_refused(tmp_path, decoder):
    path = tmp_path / "d.safetensors"
    torch.save(decoder.state_dict(), path)
    with pytest.raises(CheckpointError, match="named .safetensors but looks like a PyTorch checkpoint"):
        read_weights(path)


def test_safetensors_under_another_name_are_read(tmp_path, decoder):
    path = save_raw(tmp_path / "d.safetensors", decoder).rename(tmp_path / "d.bin")
    assert same_weights(load_transformer(path), decoder)


@pytest.mark.parametrize("zipped", [True, False])
def test_released_pickles_are_read(tmp_path, small_releases, tokenizer, zipped):
    """LlamaGen's keeps the weights under `model`; a copy may carry what training left beside them."""
    left = {"args": argparse.Namespace(lr=1e-4, betas=(0.9, 0.95)), "steps": 7, "optimizer": {"state": {}}}
    path = tmp_path / "t.pt"
    torch.save({"model": tokenizer.state_dict(), **left}, path, _use_new_zipfile_serialization=zipped)
    assert same_weights(load_tokenizer(path), tokenizer)
    torch.save(tokenizer.state_dict(), path, _use_new_zipfile_serialization=zipped)
    assert same_weights(load_tokenizer(path), tokenizer)


class Trap:
    """Runs code when it is unpickled without care."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_is_named_and_not_run(tmp_path, decoder, zipped):
    weights = decoder.state_dict() | {"extra": Trap(tmp_path / "sprung")}
    torch.save(weights, tmp_path / "d.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"it asks for (posix|nt)\.mkdir.* Nothing of it was run"):
        read_weights(tmp_path / "d.pt")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("protocol", [0, 2])
def test_a_bare_pickle_with_code_is_not_run(tmp_path, protocol):
    (tmp_path / "d.bin").write_bytes(pickle.dumps(Trap(tmp_path / "sprung"), protocol=protocol))
    with pytest.raises(CheckpointError, match=r"d.bin' (holds more than weights|is a cut or damaged)"):
        read_weights(tmp_path / "d.bin")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(1)], "holds a list; expected a state dict"),
        ({"a": torch.zeros(1), "lr": 0.1}, "is not a state dict: under 'lr' it holds a float"),
        ({"model": {0: torch.zeros(1)}}, "is not a state dict: under a key of type int it holds a tensor"),
    ],
)
def test_a_pickle_that_is_no_state_dict_is_named(tmp_path, content, message):
    torch.save(content, tmp_path / "d.pt")
    with pytest.raises(CheckpointError, match=message):
        read_weights(tmp_path / "d.pt")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file '.*d.pt'"):
        read_weights(tmp_path / "d.pt")
