"""Models from files: the tokenizer that belongs to a transformer, names and defaults."""

import os
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_checkpoints import KEYS, LLAMAGEN, MASKGIT, filled, same_weights, save_raw

from randar_core.checkpoints import weights
from randar_core.checkpoints.bundle import save_bundle
from randar_core.checkpoints.detect import detect
from randar_core.checkpoints.locate import locate
from randar_core.checkpoints.model import load_model, open_model
from randar_core.checkpoints.pairing import check_pair
from randar_core.checkpoints.releases import Defaults, find_release
from randar_core.checkpoints.weights import Checkpoint, CheckpointError, read_weights
from randar_core.models.llamagen import LlamaGenTokenizer
from randar_core.models.maskgit import MaskGITTokenizer
from randar_core.tasks.generate import generate


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


# Which tokenizer is found


@pytest.fixture
def lonely(tmp_path, small_releases, decoder, monkeypatch):
    """A transformer of a release's size, alone in a folder; no downloads."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    return save_raw(tmp_path / "d.safetensors", decoder, config=False)


def test_the_release_next_to_a_transformer_is_found_by_its_name(lonely, tokenizer):
    path = save_raw(lonely.with_name("vq_ds16_c2i.safetensors"), tokenizer, config=False)
    opened = open_model(lonely)
    assert opened.tokenizer.path == path and opened.notes == ()
    assert opened.files == (lonely, path)


def test_a_tokenizer_found_by_its_codebook_alone_is_told(lonely, tokenizer):
    path = save_raw(lonely.with_name("codes.safetensors"), tokenizer, config=False)
    assert open_model(lonely).notes == (f"The tokenizer '{path}' was found by the size of its codebook alone.",)


def test_the_text_to_image_tokenizer_is_not_taken_for_the_class_conditional_one(lonely, tokenizer):
    """Same shapes, another codebook."""
    path = save_raw(lonely.with_name("vq_ds16_t2i.safetensors"), tokenizer, config=False)
    with pytest.raises(CheckpointError, match="no tokenizer that fits it was found"):
        open_model(lonely)
    with pytest.raises(CheckpointError, match="has the shapes of llamagen-vq16 but another codebook, by its name"):
        open_model(lonely, path)
    title = detect(read_weights(path)).tokenizer.title
    assert title.startswith("llamagen of the size of llamagen-vq16 (shapes don't tell") and "vq_ds16_t2i.pt" in title


def test_a_release_is_claimed_by_its_name_and_shapes_together(lonely, decoder):
    file = find_release("randar-l-llamagen").file
    named = detect(read_weights(save_raw(lonely.with_name(file), decoder, config=False)))
    other = detect(read_weights(lonely))
    assert named.transformer.title == "randar, release randar-l-llamagen"
    assert "of the size of randar-l-llamagen" in other.transformer.title


@pytest.mark.skipif(sys.platform == "win32", reason="makes links and a pipe")
def test_unreadable_files_of_others_are_passed_over(lonely, tokenizer):
    """Cut, foreign, a pipe, a loop of links, a folder of a model's name, one that may not be read."""
    folder = lonely.parent
    (folder / "a.safetensors").write_bytes(b"\x10\0\0")
    (folder / "b.pt").write_bytes(pickle.dumps(Exception))
    (folder / "c.bin").symlink_to(folder / "c.bin")
    (folder / "e.ckpt").symlink_to(folder / "nowhere")
    (folder / "f.pt").mkdir()
    os.mkfifo(folder / "g.pt")
    (folder / "h.pt").write_bytes(b"secret")
    (folder / "h.pt").chmod(0)
    path = save_raw(folder / "codes.safetensors", tokenizer, config=False)
    assert open_model(lonely).tokenizer.path == path


def test_several_tokenizers_that_fit_are_named(lonely, tokenizer):
    for name in ("one", "two"):
        save_raw(lonely.with_name(f"{name}.safetensors"), tokenizer, config=False)
    with pytest.raises(CheckpointError, match="Several tokenizers fit .*: one.safetensors, two.safetensors. Name one"):
        open_model(lonely)


def test_only_the_files_that_are_searched_are_taken(lonely, tokenizer):
    save_raw(lonely.with_name("vq_ds16_c2i.safetensors"), tokenizer, config=False)
    with pytest.raises(CheckpointError, match="no tokenizer that fits it was found"):
        open_model(lonely, search=[])


def test_each_file_of_a_model_is_opened_once(lonely, tokenizer, monkeypatch):
    save_raw(lonely.with_name("codes.safetensors"), tokenizer, config=False)
    opened, real = [], weights.read_file

    def counted(path):
        opened.append(path.name)
        return real(path)

    monkeypatch.setattr(weights, "read_file", counted)
    load_model(lonely)
    assert sorted(opened) == ["codes.safetensors", "d.safetensors"]


def test_a_model_makes_options_and_conditions(tmp_path, decoder, tokenizer):
    path = tmp_path / "b.safetensors"
    defaults = Defaults(guidance=4.0, guidance_start=2.0, temperature=0.9, steps=12, order="raster")
    save_bundle(path, decoder, tokenizer, ["star", "fish", "moon", "sun", "tree"], defaults)
    model = load_model(path)
    options = model.options(seed=3, steps=5)
    assert (options.seed, options.steps, options.sampling.temperature) == (3, 5, 0.9)
    assert (options.guidance.schedule(0), options.guidance.schedule(1)) == (2.0, 4.0)
    prompts = model.prompts("moon", 1)
    assert [item.conditions[0].classes for item in prompts.items] == [(2,), (1,)]
    assert model.prompts("3*moon + 1").items[0].conditions[0].weights == (0.25, 0.75)
    with pytest.raises(ValueError, match="There is no class named 'car'"):
        model.prompts("car")
    picture = generate(model.transformer, prompts, options)
    assert picture.ids.shape == (2, 4, 4)


def test_files_of_a_bundle_are_its_own(tmp_path, decoder, tokenizer):
    path = tmp_path / "b.safetensors"
    save_bundle(path, decoder, tokenizer)
    assert load_model(path).files == (path,)
