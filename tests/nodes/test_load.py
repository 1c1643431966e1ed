"""Load Model: which files make a model, in which precision."""

import os
import pickle

import pytest
import torch
from safetensors.torch import save_file


def inputs_of(node):
    return {socket.id: socket for socket in node.GET_SCHEMA().inputs}


def test_a_model_brings_its_vae(pack, tiny, model):
    assert tiny.name in inputs_of(pack.nodes["RandARLoadModel"])["model_name"].options
    assert model.side == 16 and model.vae.spacial_compression_decode() == 4
    assert model.class_names == ("circle", "square", "star")


@pytest.mark.parametrize("choice", ["default", "bf16", "fp32", "int8"])
def test_the_weights_get_the_chosen_precision_and_are_counted(pack, tiny, star, choice):
    precisions = pack.module("randar_core.runtime.precision")
    if choice == "int8" and not precisions.can_pack_in(choice):
        pytest.skip("no kernels for weights in int8 here")
    model, _ = pack.run("RandARLoadModel", model_name=tiny.name, weight_dtype=choice)
    name = {"default": "auto", "bf16": "bfloat16", "fp32": "float32", "int8": "int8"}[choice]
    expected = precisions.precision_of(name, model.device)
    assert next(model.transformer.parameters()).dtype == expected.dtype
    whole = sum(p.numel() for p in pack.module("randar_core.checkpoints.model").load_transformer(tiny).parameters())
    linears = [m for m in model.transformer.modules() if hasattr(m, "in_features")]
    packed = sum(layer.in_features * layer.out_features for layer in linears)
    itemsize = {None: expected.dtype.itemsize, "float16": 2, "int8": 1}[expected.bits]
    assert model.patcher.model_size() == (whole - packed) * expected.dtype.itemsize + packed * itemsize
    latent, _ = pack.run("RandARSampler", model=model, classes=star, seed=0, steps=4, cfg=2.0)
    assert latent["samples"].dtype == torch.float32


@pytest.fixture
def parts(pack, tiny):
    """The tiny model in two files: a decoder alone and its tokenizer."""
    bundle = pack.module("randar_core.checkpoints.bundle")
    whole = pack.module("randar_core.checkpoints.model").load_model(tiny)
    decoder, tokenizer = pack.models / "decoder.safetensors", pack.models / "codes.safetensors"
    bundle.save_bundle(decoder, transformer=whole.transformer)
    bundle.save_bundle(tokenizer, tokenizer=whole.tokenizer)
    yield decoder, tokenizer
    for path in pack.models.iterdir():
        if path != tiny:
            path.unlink()


def test_the_only_tokenizer_that_fits_is_found(pack, tiny, parts):
    decoder, tokenizer = parts
    hidden = tiny.rename(tiny.with_suffix(".hidden"))
    try:
        model, _ = pack.run("RandARLoadModel", model_name=decoder.name)
    finally:
        hidden.rename(tiny)
    assert model.vae.latent_channels == 4


def test_unreadable_files_of_others_do_not_stop_a_model(pack, tiny, parts):
    decoder, tokenizer = parts
    (pack.models / "cut.safetensors").write_bytes(tokenizer.read_bytes()[:100])
    (pack.models / "code.pt").write_bytes(pickle.dumps(print))
    (pack.models / "loop.pt").symlink_to(pack.models / "loop.pt")
    hidden = tiny.rename(tiny.with_suffix(".hidden"))
    try:
        assert pack.nodes["RandARLoadModel"].fingerprint_inputs(decoder.name)
        model, _ = pack.run("RandARLoadModel", model_name=decoder.name)
    finally:
        hidden.rename(tiny)
    assert model.vae.latent_channels == 4


def test_of_several_tokenizers_the_user_chooses(pack, parts):
    decoder, tokenizer = parts  # the bundle holds a tokenizer too
    with pytest.raises(
        ValueError, match="Several tokenizers fit.*codes.safetensors.*Name one of them as the tokenizer"
    ):
        pack.run("RandARLoadModel", model_name=decoder.name)
    pack.run("RandARLoadModel", model_name=decoder.name, tokenizer=tokenizer.name)


def test_a_decoder_without_a_tokenizer_says_what_is_missing(pack, tiny, parts):
    decoder, tokenizer = parts
    tokenizer.unlink()
    hidden = tiny.rename(tiny.with_suffix(".hidden"))
    try:
        with pytest.raises(ValueError, match="without a tokenizer, and no tokenizer that fits it was found"):
            pack.run("RandARLoadModel", model_name=decoder.name)
    finally:
        hidden.rename(tiny)


def test_a_tokenizer_that_cannot_be_read_is_named_where_none_is_found(pack, tiny, parts):
    decoder, tokenizer = parts
    tokenizer.write_bytes(tokenizer.read_bytes()[:100])
    hidden = tiny.rename(tiny.with_suffix(".hidden"))
    try:
        with pytest.raises(
            ValueError, match="These files can't be read: codes.safetensors. Name one of them as the tokenizer"
        ):
            pack.run("RandARLoadModel", model_name=decoder.name)
    finally:
        hidden.rename(tiny)


def test_a_model_is_loaded_anew_when_a_file_of_its_own_has_changed_and_no_other(pack, tiny, parts):
    decoder, tokenizer = parts
    load, gone = pack.nodes["RandARLoadModel"], pack.models / "gone.safetensors"
    before = {name: load.fingerprint_inputs(name) for name in (tiny.name, decoder.name)}
    gone.symlink_to(pack.models / "nowhere.safetensors")
    assert load.fingerprint_inputs(decoder.name) == before[decoder.name]
    os.utime(tokenizer, (1, 1))
    assert load.fingerprint_inputs(tiny.name) == before[tiny.name]
    assert load.fingerprint_inputs(decoder.name) != before[decoder.name]


def test_a_download_is_run_again_when_its_file_has_gone(pack):
    download, path = pack.nodes["RandARDownloadModel"], pack.models / "vq_ds16_c2i.pt"
    path.write_bytes(b"weights")
    before = download.fingerprint_inputs("randar-l-llamagen")
    assert download.fingerprint_inputs("randar-l-llamagen") == before
    path.unlink()
    assert download.fingerprint_inputs("randar-l-llamagen") != before


def test_a_tokenizer_is_no_model(pack, parts):
    with pytest.raises(ValueError, match="tokenizer without a transformer. Give the file of the model"):
        pack.run("RandARLoadModel", model_name=parts[1].name)


def test_a_file_of_another_kind_is_named(pack, parts):
    save_file({"lora": torch.zeros(2)}, pack.models / "lora.safetensors")
    with pytest.raises(ValueError, match="lora.safetensors"):
        pack.run("RandARLoadModel", model_name="lora.safetensors")


def test_a_broken_file_is_named(pack, parts):
    (pack.models / "cut.safetensors").write_bytes(b"\x10\x00\x00")
    with pytest.raises(ValueError, match="cut.safetensors"):
        pack.run("RandARLoadModel", model_name="cut.safetensors")


def test_a_file_that_has_gone_is_named(pack):
    with pytest.raises(FileNotFoundError, match="gone.safetensors"):
        pack.run("RandARLoadModel", model_name="gone.safetensors")
