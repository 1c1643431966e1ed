"""Bundles bring everything back, or say what is wrong with them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_checkpoints import DECODER, LLAMAGEN, same_weights, save_raw
from torch import nn

from randar_core.checkpoints.bundle import save_bundle
from randar_core.checkpoints.model import load_model, load_transformer
from randar_core.checkpoints.releases import Defaults
from randar_core.checkpoints.weights import CheckpointError, read_weights
from randar_core.models.llamagen import LlamaGenTokenizer


def test_a_bundle_brings_everything_back(tmp_path, decoder, tokenizer):
    defaults = Defaults(guidance=2.5, temperature=0.9, steps=12)
    save_bundle(tmp_path / "b.safetensors", decoder, tokenizer, list("abcde"), defaults, "small")
    model = load_model(tmp_path / "b.safetensors")
    assert (model.name, model.class_names, model.defaults) == ("small", tuple("abcde"), defaults)
    assert (model.transformer.config, model.tokenizer.config) == (DECODER, LLAMAGEN)
    assert same_weights(model.transformer, decoder) and same_weights(model.tokenizer, tokenizer)


def test_a_bundle_may_hold_one_network(tmp_path, decoder, tokenizer):
    save_bundle(tmp_path / "d.safetensors", decoder)
    save_bundle(tmp_path / "t.safetensors", tokenizer=tokenizer)
    model = load_model(tmp_path / "d.safetensors", tmp_path / "t.safetensors")
    assert same_weights(model.transformer, decoder)
    assert model.class_names == ("class 0", "class 1", "class 2", "class 3", "class 4")


def test_a_bundle_of_other_codebooks_is_not_written(tmp_path, decoder):
    other = LlamaGenTokenizer(replace(LLAMAGEN, codebook_size=32))
    with pytest.raises(CheckpointError, match="codebook of 24"):
        save_bundle(tmp_path / "b.safetensors", decoder, other)
    assert not list(tmp_path.iterdir())


def test_a_bundle_needs_one_name_a_class(tmp_path, decoder):
    with pytest.raises(CheckpointError, match="3 class names were given for a transformer of 5 classes"):
        save_bundle(tmp_path / "b.safetensors", decoder, class_names="abc")


def test_a_bundle_that_cannot_be_written_says_so(tmp_path, decoder):
    with pytest.raises(CheckpointError, match="nowhere.*can't be written"):
        save_bundle(tmp_path / "nowhere" / "b.safetensors", decoder)


def test_a_failed_write_leaves_the_old_file(tmp_path, decoder, monkeypatch):
    path = tmp_path / "b.safetensors"
    save_bundle(path, decoder)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("randar_core.checkpoints.bundle.save_file", full)
    with pytest.raises(CheckpointError, match="No space left"):
        save_bundle(path, decoder)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def rewritten(path: Path, decoder: nn.Module, metadata: dict[str, str]) -> Path:
    save_bundle(path, decoder)
    bundle = read_weights(path)
    save_file(bundle.tensors, path, bundle.metadata | metadata)
    return path


RANDAR = '{"family": "randar", "config": {"width": 8, "heads": 2, "codebook_size": 8, %s}}'


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"randar": "9"}, "bundle of format 9; this version reads format 1"),
        ({"decoder": "{"}, "metadata 'decoder' .* is not JSON"),
        ({"decoder": "[]"}, r"metadata 'decoder' .* is \[\]; expected a JSON object"),
        ({"decoder": '{"family": "dalle", "config": {}}'}, "a transformer of family 'dalle'; known: randar"),
        ({"decoder": '{"family": "randar", "config": {"depth": 3}}'}, "not a valid RandARConfig.*depth"),
        ({"decoder": '{"family": "randar"}'}, "not a valid RandARConfig"),
        (
            {"decoder": RANDAR % '"layers": 1000000000'},
            "not a valid RandARConfig: layers says 1000000000, more than the",
        ),
        ({"decoder": RANDAR % '"layers": 1, "grid": 0'}, "grid is 0"),
        ({"decoder": RANDAR % '"layers": 1, "grid": "16"'}, "grid is '16'"),
        ({"facts": '{"class_names": 5}'}, "are not a list of names"),
        ({"facts": '{"defaults": {"steps": "88"}}'}, "defaults in .* are not valid: steps is '88'"),
        ({"facts": '{"defaults": {"order": [], "temperature": 0}}'}, r"temperature is 0, order is \[\]"),
        ({"facts": '{"class_names": ["a"]}'}, "names 1 classes, but its transformer has 5"),
        ({"facts": '{"defaults": {"sampler": 1}}'}, "The defaults in .*sampler"),
        ({"facts": '{"defaults": {"order": "zigzag"}}'}, "the order is 'zigzag'; known: random, raster"),
    ],
)
def test_bundles_that_are_not_understood_say_why(tmp_path, decoder, tokenizer, metadata, message):
    path = rewritten(tmp_path / "b.safetensors", decoder, metadata)
    tokenizer_path = save_raw(tmp_path / "t.safetensors", tokenizer)
    with pytest.raises(CheckpointError, match=message):
        load_model(path, tokenizer_path)


def test_strange_tensors_in_a_bundle_are_named(tmp_path, decoder):
    path = tmp_path / "b.safetensors"
    save_bundle(path, decoder)
    bundle = read_weights(path)
    save_file(bundle.tensors | {"optimizer.step": torch.zeros(1)}, path, bundle.metadata)
    with pytest.raises(CheckpointError, match="bundle of transformer, but holds optimizer.step"):
        load_transformer(path)
