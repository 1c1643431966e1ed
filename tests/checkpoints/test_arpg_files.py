"""ARPG's files: released checkpoints, bundles, and the command line."""

import argparse
import dataclasses
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from randar_core.checkpoints import detect as detecting
from randar_core.checkpoints.bundle import save_bundle
from randar_core.checkpoints.detect import detect
from randar_core.checkpoints.model import load_model, load_transformer
from randar_core.checkpoints.releases import Defaults, find_release
from randar_core.checkpoints.weights import CheckpointError, read_weights
from randar_core.cli import main
from randar_core.decoding.guidance import Guidance, Linear
from randar_core.models.arpg import ARPG, ARPGConfig
from randar_core.models.llamagen import LlamaGenConfig, LlamaGenTokenizer
from randar_core.models.maskgit import MaskGITConfig, MaskGITTokenizer

KEYS = json.loads((Path(__file__).parents[1] / "golden" / "checkpoint_keys.json").read_text())
GRID = 4
CONFIG = ARPGConfig(width=32, layers=4, heads=2, codebook_size=24, classes=5, grid=GRID)
LLAMAGEN = LlamaGenConfig(8, (1, 2), 1, codebook_size=24, codebook_dim=4, z_channels=8, norm_groups=4)
MASKGIT = MaskGITConfig(8, (1, 2), 1, codebook_size=24, codebook_dim=8, norm_groups=4)


def filled(network: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def model() -> ARPG:
    return filled(ARPG(CONFIG))


@pytest.fixture
def small_releases(monkeypatch):
    """The table of releases with sizes that tests can write."""
    sizes = {"arpg-l": CONFIG, "maskgit-vqgan": MASKGIT, "llamagen-vq16": LLAMAGEN}
    small = [dataclasses.replace(find_release(name), config=size) for name, size in sizes.items()]
    monkeypatch.setattr(detecting, "RELEASES", small)


@pytest.mark.parametrize(
    ("name", "file", "guidance"),
    [("arpg_l", "arpg_300m", 5.0), ("arpg_xl", "arpg_700m", 6.0), ("arpg_xxl", "arpg_1b", 7.5)],
)
def test_released_files_have_our_keys_and_the_defaults_of_the_authors(name, file, guidance):
    release = find_release(name.replace("_", "-"))
    state = ARPG(release.config, device="meta").state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == KEYS[name]
    assert sum(value.numel() for value in state.values()) == release.parameters
    assert release.url == f"https://huggingface.co/hp-l33/ARPG/resolve/main/{file}.pt"
    assert (release.config.head_width, release.tokenizer) == (64, "llamagen-vq16")
    assert release.defaults == Defaults(guidance, 1.0, steps=64, order=ARPG.traits.order)


@pytest.mark.parametrize("wrapper", ["model", "module", "state_dict", None])
def test_a_released_checkpoint_is_recognised_and_drawn_from(tmp_path, small_releases, model, wrapper):
    weights, other = model.state_dict(), filled(ARPG(CONFIG, dtype=torch.bfloat16)).state_dict()
    rest = {"ema": other, "args": argparse.Namespace(lr=1.0), "steps": 7}
    torch.save(weights if wrapper is None else {wrapper: weights, **rest}, tmp_path / "arpg_300m.pt")
    torch.save(filled(LlamaGenTokenizer(LLAMAGEN)).state_dict(), tmp_path / "t.pt")
    loaded = load_model(tmp_path / "arpg_300m.pt", tmp_path / "t.pt")
    assert loaded.name == "arpg-l"
    assert loaded.guidance() == Guidance(Linear(1.0, 5.0))
    assert (loaded.options().steps, loaded.options().schedule) == (64, None)
    assert loaded.class_names[207] == "golden retriever"
    found = loaded.transformer.state_dict()
    assert all(torch.equal(found[key], weight) for key, weight in weights.items())


def test_the_prefixes_of_training_code_are_removed(tmp_path, small_releases, model):
    weights = {f"module._orig_mod.{key}": weight for key, weight in model.state_dict().items()}
    torch.save({"model": weights}, tmp_path / "arpg_300m.pt")
    found = load_transformer(tmp_path / "arpg_300m.pt").state_dict()
    assert all(torch.equal(found[key], weight) for key, weight in model.state_dict().items())


def test_a_file_says_what_it_holds_and_where_its_weights_were(tmp_path, small_releases, model, capsys):
    torch.save({"model": model.state_dict(), "ema": model.state_dict()}, tmp_path / "arpg_300m.pt")
    assert main(["info", str(tmp_path / "arpg_300m.pt")]) == 0
    said = capsys.readouterr().out
    assert "arpg, release arpg-l" in said and "under 'model', next to ema" in said


def test_a_tokenizer_of_the_wrong_family_is_refused(tmp_path, small_releases, model):
    torch.save(model.state_dict(), tmp_path / "arpg_300m.pt")
    torch.save(filled(MaskGITTokenizer(MASKGIT)).state_dict(), tmp_path / "t.bin")
    with pytest.raises(CheckpointError, match="arpg-l was trained with a llamagen tokenizer, not with maskgit"):
        load_model(tmp_path / "arpg_300m.pt", tmp_path / "t.bin")


def test_a_missing_key_is_named(tmp_path, small_releases, model):
    weights = model.state_dict()
    del weights["layers.to_v.weight"]
    torch.save(weights, tmp_path / "arpg_300m.pt")
    with pytest.raises(CheckpointError, match="layers.to_v.weight"):
        load_transformer(tmp_path / "arpg_300m.pt")


def test_the_command_line_draws_edits_and_converts(tmp_path, model, capsys):
    path, picture = tmp_path / "b.safetensors", tmp_path / "00000_b.png"
    save_bundle(path, model, filled(LlamaGenTokenizer(LLAMAGEN)), list("abcde"), Defaults(4.0, steps=5), name="small")
    assert main(["generate", "b", "--model", str(path), "--out", str(tmp_path)]) == 0
    metadata = json.loads(Image.open(picture).text["parameters"])
    assert (metadata["order"], metadata["steps"], metadata["guidance"]) == ("random", 5, [4.0])
    half = tmp_path / "half.safetensors"
    assert main(["convert", str(path), str(half), "--dtype", "bfloat16"]) == 0
    assert detect(read_weights(half)).transformer.dtype == torch.bfloat16
    assert main(["info", str(half)]) == 0
    assert "transformer: arpg, " in capsys.readouterr().out
    model_and_out = ["--model", str(half), "--out", str(tmp_path / "edited.png")]
    for words, size in (
        (["extrapolate", str(picture), "b"], (16, 16)),
        (["outpaint", str(picture), "b", "--right", "4"], (12, 8)),
    ):
        assert main([*words, *model_and_out, "--force"]) == 0
        assert Image.open(tmp_path / "edited.png").size == size
