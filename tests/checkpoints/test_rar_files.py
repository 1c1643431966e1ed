"""RAR's files: released pickles, bundles, the command line, and what is refused in words."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from randar_core.checkpoints import detect as detecting
from randar_core.checkpoints.bundle import save_bundle
from randar_core.checkpoints.model import load_model, load_transformer
from randar_core.checkpoints.releases import Defaults, find_release
from randar_core.checkpoints.weights import CheckpointError
from randar_core.cli import main
from randar_core.decoding.guidance import Guidance, Linear, PowerCosine
from randar_core.models.llamagen import LlamaGenConfig, LlamaGenTokenizer
from randar_core.models.maskgit import MaskGITConfig, MaskGITTokenizer
from randar_core.models.randar import RandAR, RandARConfig
from randar_core.models.rar import RAR, RARConfig

KEYS = json.loads((Path(__file__).parents[1] / "golden" / "checkpoint_keys.json").read_text())
GRID = 6
CELLS = GRID * GRID
CONFIG = RARConfig(width=32, layers=2, heads=2, mlp_width=48, codebook_size=24, classes=5, grid=GRID)


def filled(network: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def model() -> RAR:
    return filled(RAR(CONFIG))


@pytest.mark.parametrize(
    ("file", "guidance", "power", "temperature"),
    [("rar_b", 16.0, 2.75, 1.0), ("rar_l", 15.5, 2.5, 1.02), ("rar_xl", 6.9, 1.5, 1.02), ("rar_xxl", 8.0, 1.2, 1.02)],
)
def test_released_files_have_our_keys_and_the_defaults_of_the_paper(file, guidance, power, temperature):
    release = find_release(file.replace("_", "-"))
    state = RAR(release.config, device="meta").state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == KEYS[file]
    assert release.file == f"{file}.bin" and release.tokenizer == "maskgit-vqgan"
    assert release.config.heads == 16
    assert release.defaults == Defaults(guidance, 1.0, power, temperature, steps=256, order=RAR.traits.order)


LLAMAGEN = LlamaGenConfig(8, (1, 2), 1, codebook_size=24, codebook_dim=4, z_channels=8, norm_groups=4)
MASKGIT = MaskGITConfig(8, (1, 2), 1, codebook_size=24, codebook_dim=8, norm_groups=4)


@pytest.fixture
def small_releases(monkeypatch):
    """The table of releases with sizes that tests can write."""
    sizes = {"rar-b": CONFIG, "maskgit-vqgan": MASKGIT, "llamagen-vq16": LLAMAGEN}
    small = [dataclasses.replace(find_release(name), config=size) for name, size in sizes.items()]
    monkeypatch.setattr(detecting, "RELEASES", small)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_released_pickle_is_recognised_and_drawn_from(tmp_path, small_releases, model, zipped):
    tokenizer = filled(MaskGITTokenizer(MASKGIT))
    torch.save(model.state_dict(), tmp_path / "rar_b.bin", _use_new_zipfile_serialization=zipped)
    torch.save(tokenizer.state_dict(), tmp_path / "t.bin", _use_new_zipfile_serialization=zipped)
    loaded = load_model(tmp_path / "rar_b.bin", tmp_path / "t.bin")
    assert loaded.name == "rar-b"
    assert loaded.class_names[207] == "golden retriever"
    assert loaded.guidance() == Guidance(PowerCosine(16.0, 2.75))
    tokens, order = torch.arange(CELLS)[None] % 24, torch.arange(CELLS)[None]
    expected = model(model.class_embedding(torch.tensor([1])), tokens, order)
    embedding = loaded.transformer.class_embedding(torch.tensor([1]))
    assert torch.equal(loaded.transformer(embedding, tokens, order), expected)


def test_guidance_rises_by_the_models_power_unless_another_course_is_asked_for(tmp_path, small_releases, model):
    torch.save(model.state_dict(), tmp_path / "rar_b.bin")
    torch.save(filled(MaskGITTokenizer(MASKGIT)).state_dict(), tmp_path / "t.bin")
    loaded = load_model(tmp_path / "rar_b.bin", tmp_path / "t.bin")
    asked = {
        PowerCosine(4.0, 2.75): {"end": 4.0},
        PowerCosine(16.0, 0.0): {"power": 0.0},
        Linear(2.0, 4.0): {"end": 4.0, "start": 2.0},
    }
    for expected, arguments in asked.items():
        assert loaded.guidance(**arguments) == Guidance(expected)
    with pytest.raises(ValueError, match="a start .2.0. and a power .1.5.*Give one of the two"):
        loaded.guidance(4.0, start=2.0, power=1.5)


def test_a_bundle_of_another_size_is_drawn_in_the_order_of_its_family(tmp_path, model):
    path = tmp_path / "b.safetensors"
    save_bundle(path, model, filled(MaskGITTokenizer(MASKGIT)), list("abcde"), name="small")
    loaded = load_model(path)
    assert loaded.transformer.config == CONFIG
    assert loaded.defaults == Defaults(order="raster")
    save_bundle(path, model, loaded.tokenizer, defaults=Defaults(2.0, guidance_power=1.5, order="random"))
    assert load_model(path).defaults.order == "random"


def test_the_command_line_draws_and_converts_and_says_what_it_cannot(tmp_path, model, capsys):
    path, picture = tmp_path / "b.safetensors", tmp_path / "00000_b.png"
    defaults = Defaults(4.0, guidance_power=1.5, order="raster")
    save_bundle(path, model, filled(MaskGITTokenizer(MASKGIT)), list("abcde"), defaults)
    assert main(["generate", "b", "--model", str(path), "--out", str(tmp_path)]) == 0
    facts = json.loads(Image.open(picture).text["parameters"])
    assert (facts["order"], facts["guidance"], facts["guidance_power"]) == ("raster", [4.0], 1.5)
    assert main(["convert", str(path), str(tmp_path / "half.safetensors"), "--dtype", "bfloat16"]) == 0
    assert main(["info", str(tmp_path / "half.safetensors")]) == 0
    assert "transformer: rar, " in capsys.readouterr().out
    assert main(["extrapolate", str(picture), "b", "--model", str(path)]) == 2
    assert "can't extrapolate" in capsys.readouterr().err


def test_a_cut_pickle_is_named(tmp_path, model):
    path = tmp_path / "rar_b.bin"
    torch.save(model.state_dict(), path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(CheckpointError, match="rar_b.bin' is a cut or damaged PyTorch checkpoint"):
        load_transformer(path)


def test_a_tokenizer_of_the_wrong_family_is_refused(tmp_path, small_releases, model):
    torch.save(model.state_dict(), tmp_path / "rar_b.bin")
    torch.save(filled(LlamaGenTokenizer(LLAMAGEN)).state_dict(), tmp_path / "t.pt")
    with pytest.raises(CheckpointError, match="rar-b was trained with a maskgit tokenizer, not with llamagen"):
        load_model(tmp_path / "rar_b.bin", tmp_path / "t.pt")


def test_mixed_decoders_in_one_file_are_refused(tmp_path, model):
    other = RandAR(RandARConfig(width=32, layers=1, heads=2, codebook_size=24, classes=5, grid=GRID))
    torch.save(model.state_dict() | other.state_dict(), tmp_path / "mixed.bin")
    with pytest.raises(CheckpointError, match="mixes the keys of randar .* and rar"):
        load_transformer(tmp_path / "mixed.bin")
