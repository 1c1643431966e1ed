"""Checkpoints as people have them: prefixes, wrappers, training states, shards, folders, and files of other kinds."""

import argparse
import json
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_checkpoints import same_weights, save_raw

from randar_core.checkpoints.build import build
from randar_core.checkpoints.detect import detect
from randar_core.checkpoints.model import load_tokenizer, load_transformer, open_model
from randar_core.checkpoints.weights import CheckpointError, FileVersion, read_weights

TRAINING = {
    "optimizer": {"state": {0: {"exp_avg": torch.ones(3), "step": torch.tensor(5.0)}}, "param_groups": [{"lr": 1e-4}]},
    "scaler": {"scale": 65536.0, "_growth_tracker": 0},
    "args": argparse.Namespace(lr=1e-4, betas=(0.9, 0.95), ema=True),
    "best": np.float64(2.4),
    "random": np.random.default_rng(0).integers(0, 9, 5),
    "folder": Path("runs"),
    "epoch": 399,
    "steps": 7,
}


def save_prefixed(path, network, prefix, **kwargs):
    torch.save({prefix + key: value for key, value in network.state_dict().items()}, path, **kwargs)
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_every_pickle_protocol_is_read(tmp_path, small_releases, tokenizer, zipped, protocol):
    torch.save(
        {"model": tokenizer.state_dict(), **TRAINING},
        tmp_path / "t.pt",
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=zipped,
    )
    assert same_weights(load_tokenizer(tmp_path / "t.pt"), tokenizer)


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "_fsdp_wrapped_module."]
)
def test_prefixes_of_multi_gpu_training_and_compilation_are_removed(tmp_path, small_releases, decoder, prefix):
    path = save_prefixed(tmp_path / "d.pt", decoder, prefix)
    assert same_weights(load_transformer(path), decoder)


def test_prefixes_are_removed_within_names_and_in_safetensors_too(tmp_path, small_releases, decoder):
    """Layers may be compiled one by one."""
    named = {key.replace("layers.1.", "layers.1._orig_mod."): value for key, value in decoder.state_dict().items()}
    save_file({f"module.{key}": value for key, value in named.items()}, tmp_path / "d.safetensors")
    assert same_weights(load_transformer(tmp_path / "d.safetensors"), decoder)


def test_weights_under_two_names_are_refused(tmp_path, decoder):
    twice = decoder.state_dict() | {f"_orig_mod.{key}": value for key, value in decoder.state_dict().items()}
    torch.save(twice, tmp_path / "d.pt")
    with pytest.raises(CheckpointError, match="holds the same weights under several names"):
        read_weights(tmp_path / "d.pt")


@pytest.mark.parametrize("wrapper", ["model", "module", "state_dict", "ema"])
def test_weights_are_found_in_a_training_checkpoint(tmp_path, small_releases, decoder, wrapper):
    torch.save({wrapper: decoder.state_dict(), **TRAINING}, tmp_path / "d.pt")
    assert same_weights(load_transformer(tmp_path / "d.pt"), decoder)
    said = detect(read_weights(tmp_path / "d.pt")).wrapper
    assert said == f"under '{wrapper}', next to optimizer, scaler, args, best and 4 more"


@pytest.mark.parametrize("taken", [("model", "module", "state_dict", "ema"), ("module", "state_dict"), ("state_dict",)])
def test_of_several_copies_the_one_that_the_authors_sampler_takes_is_taken(tmp_path, small_releases, decoder, taken):
    others = {name: {key: value + 1 for key, value in decoder.state_dict().items()} for name in taken[1:]}
    torch.save({**others, "ema": others.get("ema", {}), taken[0]: decoder.state_dict()}, tmp_path / "d.pt")
    assert same_weights(load_transformer(tmp_path / "d.pt"), decoder)


def test_wrappers_within_wrappers_and_tensors_next_to_them_are_no_obstacle(tmp_path, small_releases, decoder):
    wrapped = {"state_dict": {"module": OrderedDict(decoder.state_dict())}, "step": torch.tensor(7)}
    torch.save(wrapped, tmp_path / "d.pt")
    assert same_weights(load_transformer(tmp_path / "d.pt"), decoder)


def test_the_user_hears_which_weights_were_taken(tmp_path, small_releases, decoder, tokenizer):
    torch.save({"model": decoder.state_dict(), "ema": decoder.state_dict()}, tmp_path / "d.pt")
    torch.save(tokenizer.state_dict(), tmp_path / "vq_ds16_c2i.pt")
    assert open_model(tmp_path / "d.pt").notes == (
        f"'{tmp_path / 'd.pt'}' is a training checkpoint; its weights were taken from under 'model', next to ema.",
    )


def test_an_object_that_holds_itself_is_refused(tmp_path):
    loop: dict = {"a": 1}
    loop["model"] = loop
    torch.save(loop, tmp_path / "d.pt")
    with pytest.raises(CheckpointError, match="is not a state dict: under 'a' it holds a int"):
        read_weights(tmp_path / "d.pt")


def test_views_shared_storages_and_other_dtypes_come_back_as_they_were(tmp_path):
    base = torch.arange(24.0).view(4, 6)
    tensors = {
        "view": base[1:3, ::2],
        "transposed": base.T,
        "whole": base,
        "scalar": torch.tensor(3.0),
        "empty": torch.zeros(0, 4),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "wide": torch.tensor([1, 70], dtype=torch.uint16),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "eight": torch.ones(4).to(torch.float8_e4m3fn),
    }
    for zipped in (True, False):
        torch.save(tensors, tmp_path / "d.pt", _use_new_zipfile_serialization=zipped)
        found = read_weights(tmp_path / "d.pt").tensors
        assert found.keys() == tensors.keys()
        for key, value in tensors.items():
            assert found[key].dtype == value.dtype and found[key].shape == value.shape, key
            assert torch.equal(found[key].float(), value.detach().float()), key


@pytest.mark.parametrize(
    ("tensor", "kind"),
    [
        (torch.empty(3, device="meta"), "meta"),
        (torch.eye(3).to_sparse(), "sparse"),
        (torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "quantised"),
        (torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "nested"),
    ],
    ids=["meta", "sparse", "quantised", "nested"],
)
def test_tensors_that_are_not_plain_memory_are_named(tmp_path, tensor, kind):
    torch.save({"a": torch.ones(2), "b": tensor}, tmp_path / "d.pt")
    with pytest.raises(
        CheckpointError, match=f"holds a {kind} tensor under 'b'; expected plain weights|holds more than"
    ):
        read_weights(tmp_path / "d.pt")


# Sets of several files, and folders


@pytest.fixture
def sharded(tmp_path, decoder):
    """The decoder in two files and their index, with its configuration."""
    state, config = decoder.state_dict(), json.dumps(vars(decoder.config))
    keys = list(state)
    names = {key: f"model-0000{1 + (i >= 5)}-of-00002.safetensors" for i, key in enumerate(keys)}
    for name in set(names.values()):
        save_file({key: state[key] for key in keys if names[key] == name}, tmp_path / name, {"config": config})
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": names}))
    return index


@pytest.mark.parametrize("given", ["", "model.safetensors.index.json", "model-00002-of-00002.safetensors"])
def test_a_sharded_set_is_read_by_its_folder_index_or_any_shard(sharded, decoder, given):
    assert same_weights(load_transformer(sharded.parent / given), decoder)


def test_a_shard_that_is_missing_is_named(sharded):
    sharded.with_name("model-00002-of-00002.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match="Of the shards of .*, these are missing: model-00002-of-00002.safetensors"
    ):
        read_weights(sharded)


def test_a_shard_without_its_index_is_named(sharded):
    sharded.unlink()
    with pytest.raises(CheckpointError, match="is one shard of a set, and the index 'model.safetensors.index.json'"):
        read_weights(sharded.with_name("model-00001-of-00002.safetensors"))


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "a\\b.safetensors"])
def test_an_index_cannot_name_files_outside_of_its_folder(sharded, name):
    sharded.write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(CheckpointError, match="names files outside of its folder"):
        read_weights(sharded)


@pytest.mark.parametrize("content", ["{", "[]", '{"weight_map": {}}', '{"weight_map": {"a": 1}}', "[" * 100_000])
def test_an_index_that_is_not_one_is_named(sharded, content):
    sharded.write_text(content)
    with pytest.raises(CheckpointError, match="is not the index of a sharded checkpoint"):
        read_weights(sharded)


def test_of_a_folder_its_model_is_taken(tmp_path, decoder):
    save_raw(tmp_path / "model.safetensors", decoder)
    assert same_weights(load_transformer(tmp_path), decoder)


def test_a_folder_without_a_model_says_what_it_holds(tmp_path):
    (tmp_path / "log.csv").write_text("")
    with pytest.raises(CheckpointError, match="is a folder without model.safetensors .* The folder holds log.csv"):
        read_weights(tmp_path)


# Files of other kinds

ONNX = b"\x08\x08\x12\x07pytorch\x1a\x052.1.0"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("m.gguf", b"GGUF\x03\0\0\0" + bytes(64), "is a GGUF file"),
        ("m.onnx", bytes(64), "is an ONNX file"),
        ("m.bin", ONNX + bytes(64), "is an ONNX file"),
        ("m.safetensors", b'{"error": "Repository not found"}', "is JSON.*Repository not found"),
        ("m.pt", b"\xef\xbb\xbf[1, 2]", "is JSON"),
        ("m.pt", b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>", "is XML.*AccessDenied"),
        ("m.pt", b"<html>\n<head><title>Sign in", "is a web page"),
        ("m.h5", b"\x89HDF\r\n\x1a\n" + bytes(64), "is an HDF5 file"),
        ("m.pt", b"\x1f\x8b\x08" + bytes(64), "is a compressed archive. Unpack it"),
        ("m.npy", b"\x93NUMPY\x01\0" + bytes(64), "is a NumPy array"),
        ("m.bin", b"\x89PNG\r\n\x1a\n" + bytes(64), "is a picture"),
        ("m.pt", b"weights", "is a cut or damaged PyTorch checkpoint"),
    ],
)
def test_files_of_other_kinds_are_told_what_they_are(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{name}' {said}"):
        read_weights(tmp_path / name)


def test_a_zip_of_something_else_is_named(tmp_path):
    np.savez(tmp_path / "m.npz", a=np.ones(3))
    with pytest.raises(CheckpointError, match="is a zip archive, but not a checkpoint of `torch.save`"):
        read_weights(tmp_path / "m.npz")


def test_a_program_is_named(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match="is a TorchScript program, not a file of weights"):
        read_weights(tmp_path / "m.pt")


def test_a_plain_pickle_is_named(tmp_path):
    (tmp_path / "m.pkl").write_bytes(pickle.dumps({"a": [1.0]}))
    with pytest.raises(CheckpointError, match="is a Python pickle that `torch.save` didn't write"):
        read_weights(tmp_path / "m.pkl")


def test_a_checkpoint_that_was_compressed_is_named(tmp_path, decoder):
    torch.save(decoder.state_dict(), tmp_path / "d.pt")
    with (
        zipfile.ZipFile(tmp_path / "d.pt") as whole,
        zipfile.ZipFile(tmp_path / "z.pt", "w", zipfile.ZIP_DEFLATED) as z,
    ):
        for entry in whole.namelist():
            z.writestr(entry, whole.read(entry))
    with pytest.raises(CheckpointError, match="was compressed after it was saved"):
        read_weights(tmp_path / "z.pt")


def test_a_checkpoint_of_another_byte_order_is_named(tmp_path, decoder):
    torch.save(decoder.state_dict(), tmp_path / "d.pt")
    with zipfile.ZipFile(tmp_path / "d.pt") as whole, zipfile.ZipFile(tmp_path / "b.pt", "w") as big:
        for entry in whole.namelist():
            big.writestr(entry, b"big" if entry.endswith("byteorder") else whole.read(entry))
    with pytest.raises(CheckpointError, match="was written on a machine of another byte order"):
        read_weights(tmp_path / "b.pt")


class Foreign:
    """A class of somebody's training code."""


@pytest.mark.parametrize("protocol", [2, 4])
def test_torchs_advice_to_load_without_care_is_never_passed_on(tmp_path, protocol):
    torch.save({"model": {"a": torch.ones(2)}, "config": Foreign()}, tmp_path / "d.pt", pickle_protocol=protocol)
    with pytest.raises(CheckpointError) as caught:
        read_weights(tmp_path / "d.pt")
    assert "Foreign, and loading that could run code. Nothing of it was run" in str(caught.value)
    assert "weights_only" not in str(caught.value)


# Files that change while they are read or used


def test_a_file_that_is_written_over_is_another_version_whatever_its_date(tmp_path, decoder):
    """As `cp --preserve` leaves it: the same name, size, date and place on the disk."""
    path = save_raw(tmp_path / "d.safetensors", decoder)
    before, status = FileVersion.of(path), path.stat()
    assert FileVersion.of(path).key == before.key
    with path.open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\0\0\0\0")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = FileVersion.of(path)
    assert (after.size, after.modified, after.inode) == (before.size, before.modified, before.inode)
    assert after.key != before.key


def test_a_file_that_is_written_over_does_not_change_a_model_in_use(tmp_path, decoder):
    path = save_raw(tmp_path / "d.safetensors", decoder)
    loaded = load_transformer(path)
    with path.open("r+b") as file:  # in place, as `cp` and `wget -O` write
        file.seek(2000)
        file.write(os.urandom(path.stat().st_size - 2000))
        file.truncate(3000)
    assert same_weights(loaded, decoder)


def test_a_file_that_changes_between_reading_and_building_is_named(tmp_path, decoder):
    path = save_raw(tmp_path / "d.safetensors", decoder)
    network = detect(read_weights(path)).transformer
    content = path.read_bytes()
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="was changed while it was being read. Load it again"):
        build(network)
