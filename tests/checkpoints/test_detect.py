"""What a file is, by its keys, shapes and metadata."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_checkpoints import DECODER, KEYS, RELEASED, same_weights, save_raw

from randar_core.checkpoints.bundle import save_bundle
from randar_core.checkpoints.detect import detect
from randar_core.checkpoints.families import family_of
from randar_core.checkpoints.model import load_tokenizer, load_transformer
from randar_core.checkpoints.releases import RELEASES
from randar_core.checkpoints.weights import Checkpoint, CheckpointError, read_weights
from randar_core.models.patches import PatchConfig, PatchTokenizer


@pytest.mark.parametrize("file", RELEASED)
def test_every_released_file_is_recognised_by_its_keys_and_shapes(file):
    tensors = {key: torch.empty(shape, device="meta") for key, shape in KEYS[file].items()}
    (part,) = detect(Checkpoint(Path(file), tensors, {})).networks
    assert part.release.name == RELEASED[file]
    assert not part.mismatch
    assert part.parameters == part.release.parameters


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.name)
def test_the_table_counts_the_weights_of_every_size(release):
    family = family_of(release.config)
    shapes = family.shapes(release.config)
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == release.parameters


def test_heads_come_from_the_table():
    tensors = {key: torch.empty(shape, device="meta") for key, shape in KEYS["randar_0.7b_llamagen"].items()}
    assert detect(Checkpoint(Path("xl"), tensors, {})).transformer.config.heads == 20


def test_what_differs_from_a_release_is_named():
    tensors = {key: torch.empty(shape, device="meta") for key, shape in KEYS["randar_0.3b_maskgit"].items()}
    del tensors["norm.weight"]
    tensors["freqs"] = torch.empty(3, device="meta")
    tensors["output.weight"] = torch.empty(1000, 1024, device="meta")
    part = detect(Checkpoint(Path("l"), tensors, {})).transformer
    assert part.release.name == "randar-l-maskgit"
    assert part.mismatch.missing == {"norm.weight": (1024,)}
    assert part.mismatch.unexpected == {"freqs": (3,)}
    assert part.mismatch.different == {"output.weight": ((1000, 1024), (1024, 1024))}


def test_another_size_is_recognised_by_its_configuration(tmp_path, decoder):
    path = save_raw(tmp_path / "d.safetensors", decoder)
    assert detect(read_weights(path)).transformer.config == DECODER
    assert same_weights(load_transformer(path), decoder)


def test_another_size_without_its_configuration_says_what_is_needed(tmp_path, decoder):
    path = save_raw(tmp_path / "d.safetensors", decoder, config=False)
    with pytest.raises(
        CheckpointError, match=r"a size that was not released .*\[24, 32\].* metadata 'config'.* RandARConfig"
    ):
        load_transformer(path)


def test_the_leftover_of_training_is_accepted(tmp_path, tokenizer):
    path = save_raw(tmp_path / "t.safetensors", tokenizer, **{"quantize.codebook_used": torch.zeros(65536)})
    assert same_weights(load_tokenizer(path), tokenizer)


def test_a_file_that_mixes_families_is_refused(tmp_path, decoder, tokenizer):
    path = save_raw(tmp_path / "d.safetensors", decoder, **tokenizer.state_dict())
    with pytest.raises(CheckpointError, match="mixes the keys of randar .* and llamagen"):
        detect(read_weights(path))


def test_foreign_weights_are_refused(tmp_path):
    save_file({"conv.weight": torch.zeros(2)}, tmp_path / "f.safetensors")
    with pytest.raises(CheckpointError, match="not one of the models known here.*conv.weight"):
        detect(read_weights(tmp_path / "f.safetensors"))


def patch_tokenizer() -> PatchTokenizer:
    return PatchTokenizer(PatchConfig(8, factor=4, blocks=(4, 2), widths=(6, 4), res_blocks=(1, 2)))


def test_a_tokenizer_of_patches_comes_back_from_its_bundle(tmp_path):
    tokenizer = patch_tokenizer()
    save_bundle(tmp_path / "patches.safetensors", tokenizer=tokenizer)
    found = load_tokenizer(tmp_path / "patches.safetensors")
    assert found.config == tokenizer.config
    pixels = torch.rand(1, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    assert torch.equal(found.encode(pixels), tokenizer.encode(pixels))
    torch.testing.assert_close(found.decode(found.encode(pixels)), tokenizer.decode(tokenizer.encode(pixels)))


def test_a_tokenizer_of_patches_without_its_configuration_says_what_is_needed(tmp_path):
    save_file(patch_tokenizer().state_dict(), tmp_path / "patches.safetensors")
    with pytest.raises(CheckpointError, match="patches tokenizer of a size that was not released .*known: none"):
        load_tokenizer(tmp_path / "patches.safetensors")


@pytest.mark.parametrize("res_blocks", [[10**9, 1], [1, 0], [], 3])
def test_stages_that_cannot_be_are_refused(tmp_path, res_blocks):
    tensors = {f"tokenizer.{key}": value for key, value in patch_tokenizer().state_dict().items()}
    config = asdict(patch_tokenizer().config) | {"res_blocks": res_blocks}
    described = json.dumps({"family": "patches", "config": config})
    metadata = {"randar": "1", "format": "pt", "facts": "{}", "tokenizer": described}
    save_file(tensors, tmp_path / "patches.safetensors", metadata)
    with pytest.raises(CheckpointError, match="not a valid PatchConfig"):
        load_tokenizer(tmp_path / "patches.safetensors")
