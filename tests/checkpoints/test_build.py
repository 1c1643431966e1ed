"""Networks from weights: what doesn't fit is named, nothing is held twice."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from own_process import in_own_process
from processes import memory_of_loading
from safetensors.torch import save_file
from tiny_checkpoints import DECODER, KEYS, filled, same_weights, save_raw
from torch import nn

from randar_core.checkpoints.build import build
from randar_core.checkpoints.detect import detect
from randar_core.checkpoints.model import load_transformer
from randar_core.checkpoints.weights import Checkpoint, CheckpointError
from randar_core.models.randar import RandAR, RandARConfig


def test_a_missing_key_is_named(tmp_path, decoder):
    path = save_raw(tmp_path / "d.safetensors", decoder, **{"norm.weight": None})
    with pytest.raises(CheckpointError, match=r"d.safetensors'.*missing: norm.weight \[32\]"):
        load_transformer(path)


def test_an_extra_key_is_named(tmp_path, decoder):
    path = save_raw(tmp_path / "d.safetensors", decoder, bias=torch.zeros(2))
    with pytest.raises(CheckpointError, match=r"unexpected: bias \[2\]"):
        load_transformer(path)


def test_a_misshapen_key_is_named_with_what_was_expected(tmp_path, decoder):
    path = save_raw(tmp_path / "d.safetensors", decoder, **{"norm.weight": torch.zeros(31)})
    with pytest.raises(CheckpointError, match=r"of another shape: norm.weight is \[31\], expected \[32\]"):
        load_transformer(path)


def test_of_many_missing_keys_the_first_are_named(tmp_path, decoder):
    gone = {key: None for key in decoder.state_dict() if key.startswith("layers.1.")}
    path = save_raw(tmp_path / "d.safetensors", decoder, **gone)
    with pytest.raises(CheckpointError, match=r"missing: layers.1.attention.wqkv.weight \[96, 32\].* and 3 more"):
        load_transformer(path)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_named(tmp_path, decoder, wrong):
    weight = decoder.state_dict()["layers.1.ffn_norm.weight"].clone()
    weight[7] = wrong
    path = save_raw(tmp_path / "d.safetensors", decoder, **{"layers.1.ffn_norm.weight": weight})
    with pytest.raises(CheckpointError, match="layers.1.ffn_norm.weight holds NaN or infinite"):
        load_transformer(path)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])
def test_weights_of_another_kind_are_refused(tmp_path, decoder, dtype):
    path = save_raw(tmp_path / "d.safetensors", decoder, **{"norm.weight": torch.ones(32).to(dtype)})
    with pytest.raises(CheckpointError, match=f"norm.weight holds {dtype}; expected one of float32, bfloat16"):
        load_transformer(path)


def test_weights_come_in_the_dtype_asked_for(tmp_path, decoder):
    path = save_raw(tmp_path / "d.safetensors", decoder)
    loaded = load_transformer(path, dtype=torch.bfloat16)
    assert {value.dtype for value in loaded.state_dict().values()} == {torch.bfloat16}
    assert same_weights(loaded.float(), filled(RandAR(DECODER)).bfloat16().float())


def test_a_file_of_mixed_dtypes_is_loaded_in_the_one_that_most_weights_have(tmp_path, decoder):
    half = {key: value.half() for key, value in decoder.state_dict().items() if "norm" not in key}
    loaded = load_transformer(save_raw(tmp_path / "d.safetensors", decoder, **half))
    assert {value.dtype for value in loaded.state_dict().values()} == {torch.float16}


def test_a_loaded_network_is_ready_and_whole(tmp_path, decoder):
    loaded = load_transformer(save_raw(tmp_path / "d.safetensors", decoder))
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert not any(tensor.is_meta for tensor in [*loaded.parameters(), *loaded.buffers()])
    classes, tokens, order = torch.tensor([0, 3]), torch.zeros(2, 16, dtype=torch.long), torch.arange(16).expand(2, -1)
    found, expected = (model(model.class_embedding(classes), tokens, order) for model in (loaded, decoder))
    assert torch.equal(found, expected)


def test_the_host_hands_in_its_own_layers(tmp_path, decoder):
    class HostLinear(nn.Linear):
        pass

    class HostLayers:
        Linear, Embedding, RMSNorm = HostLinear, nn.Embedding, nn.RMSNorm

    loaded = load_transformer(save_raw(tmp_path / "d.safetensors", decoder), operations=HostLayers)
    assert any(isinstance(module, HostLinear) for module in loaded.modules())


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of anonymous memory")
def test_loading_makes_no_second_copy_of_the_weights(tmp_path):
    """Memory rises by the loaded weights alone, in the file's own dtype as in another."""
    config = RandARConfig(width=512, layers=12, heads=8, codebook_size=512)
    shapes = RandAR(config, device="meta").state_dict()
    weights = {key: torch.zeros(value.shape, dtype=torch.bfloat16) for key, value in shapes.items()}
    path = tmp_path / "model.safetensors"
    save_file(weights, path, {"config": json.dumps(asdict(config))})
    own, converted = in_own_process(memory_of_loading, [(path, torch.bfloat16), (path, torch.float16)])
    size = path.stat().st_size
    assert 0.8 * size <= own <= 1.2 * size
    assert 0.8 * size <= converted <= 1.2 * size


def test_building_a_part_that_does_not_fit_says_what_it_looked_like():
    tensors = {key: torch.empty(shape, device="meta") for key, shape in KEYS["randar_0.3b_maskgit"].items()}
    del tensors["tok_embeddings.weight"]
    with pytest.raises(CheckpointError, match="doesn't fit randar-l-maskgit. missing: tok_embeddings.weight"):
        build(detect(Checkpoint(Path("l"), tensors, {})).transformer)
