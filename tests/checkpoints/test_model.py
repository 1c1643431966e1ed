"""Models from files: the tokenizer that belongs to a transformer, names and defaults."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_checkpoints import KEYS, LLAMAGEN, MASKGIT, filled, same_weights, save_raw

from randar_core.checkpoints.bundle import save_bundle
from randar_core.checkpoints.detect import detect
from randar_core.checkpoints.locate import locate
from randar_core.checkpoints.model import load_model
from randar_core.checkpoints.pairing import check_pair
from randar_core.checkpoints.releases import Defaults
from randar_core.checkpoints.weights import Checkpoint, CheckpointError
from randar_core.models.llamagen import LlamaGenTokenizer
from randar_core.models.maskgit import MaskGITTokenizer


def test_a_decoder_and_its_tokenizer_make_a_model(tmp_path, small_releases, decoder, tokenizer):
    decoder_path = save_raw(tmp_path / "d.safetensors", decoder, config=False)
    tokenizer_path = save_raw(tmp_path / "t.safetensors", tokenizer, config=False)
    model = load_model(decoder_path, tokenizer_path)
    assert model.name == "d"  # shapes alone don't make it the release
    assert same_weights(model.transformer, decoder) and same_weights(model.tokenizer, tokenizer)
    assert model.class_names[207] == "golden retriever"
    assert (model.defaults.guidance, model.defaults.steps) == (3.4, 88)


def test_a_decoder_without_its_tokenizer_names_the_file_to_get(tmp_path, small_releases, decoder):
    path = save_raw(tmp_path / "d.safetensors", decoder, config=False)
    with pytest.raises(
        CheckpointError,
        match=r"Put vq_ds16_c2i.pt \(llamagen-vq16, from huggingface.co/FoundationVision/LlamaGen\) next to it",
    ):
        load_model(path)


def test_a_tokenizer_of_another_codebook_is_refused(tmp_path, decoder):
    other = filled(LlamaGenTokenizer(replace(LLAMAGEN, codebook_size=32)))
    paths = save_raw(tmp_path / "d.safetensors", decoder), save_raw(tmp_path / "t.safetensors", other)
    with pytest.raises(CheckpointError, match="codebook of 24 tokens, the tokenizer has 32"):
        load_model(*paths)


def test_a_tokenizer_of_another_family_is_refused(tmp_path, small_releases, decoder):
    """The same codebook size does not make it the same codebook."""
    decoder_path = save_raw(tmp_path / "d.safetensors", decoder, config=False)
    other = save_raw(tmp_path / "t.safetensors", filled(MaskGITTokenizer(MASKGIT)), config=False)
    with pytest.raises(CheckpointError, match="trained with a llamagen tokenizer, not with maskgit .*t.safetensors"):
        load_model(decoder_path, other)


def test_released_decoders_refuse_the_other_released_tokenizer():
    parts = {}
    for file in ("randar_0.3b_llamagen", "maskgit_vqgan_imagenet_f16_256"):
        tensors = {key: torch.empty(shape, device="meta") for key, shape in KEYS[file].items()}
        (parts[file],) = detect(Checkpoint(Path(file), tensors, {})).networks
    with pytest.raises(CheckpointError, match="Give it the tokenizer vq_ds16_c2i.pt"):
        check_pair(*parts.values())


def test_a_tokenizer_in_the_decoders_place_is_told_apart(tmp_path, decoder, tokenizer):
    decoder_path = save_raw(tmp_path / "d.safetensors", decoder)
    tokenizer_path = save_raw(tmp_path / "t.safetensors", tokenizer)
    with pytest.raises(CheckpointError, match="t.safetensors' is a llamagen tokenizer without a transformer. Give"):
        load_model(tokenizer_path, decoder_path)
    with pytest.raises(
        CheckpointError, match="d.safetensors' is a randar transformer without a tokenizer. Expected a tokenizer"
    ):
        load_model(decoder_path, decoder_path)


@pytest.mark.parametrize("end, ends", [(4.0, (2, 4)), (1.5, (1.5, 1.5)), (1.0, (1, 1))])
def test_a_models_own_schedule_starts_no_higher_than_it_ends(tmp_path, decoder, tokenizer, end, ends):
    save_bundle(
        tmp_path / "b.safetensors", decoder, tokenizer, list("abcde"), Defaults(4.0, guidance_start=2.0), "small"
    )
    schedule = load_model(tmp_path / "b.safetensors").guidance(end).schedule
    assert (schedule(0.0), schedule(1.0)) == ends


def test_a_tokenizer_that_is_given_goes_before_the_bundles_own(tmp_path, decoder, tokenizer):
    save_bundle(tmp_path / "b.safetensors", decoder, tokenizer)
    other = LlamaGenTokenizer(LLAMAGEN).requires_grad_(False)
    path = save_raw(tmp_path / "t.safetensors", other)
    assert same_weights(load_model(tmp_path / "b.safetensors", path).tokenizer, other)


def test_a_folder_of_a_releases_name_is_not_taken_for_its_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rar-b").mkdir()
    with pytest.raises(FileNotFoundError, match="Fetch it with `randar download rar-b`"):
        locate("rar-b")
