"""LPD's files: the authors' training checkpoints, bundles, the command line, and what is refused in words."""

import argparse
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
from randar_core.decoding.guidance import Guidance, Linear
from randar_core.decoding.orders import Proximity
from randar_core.models.llamagen import LlamaGenConfig, LlamaGenTokenizer
from randar_core.models.lpd import LPD, LPDConfig

KEYS = json.loads((Path(__file__).parents[1] / "golden" / "checkpoint_keys.json").read_text())
GRID = 6
CONFIG = LPDConfig(width=32, layers=2, heads=2, codebook_size=24, classes=5, grid=GRID)
LLAMAGEN = LlamaGenConfig(8, (1, 2), 1, codebook_size=24, codebook_dim=4, z_channels=8, norm_groups=4)


def filled(network: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def model() -> LPD:
    return filled(LPD(CONFIG))


@pytest.fixture
def small_releases(monkeypatch):
    """The table of releases with sizes that tests can write."""
    sizes = {"lpd-l-512": CONFIG, "llamagen-vq16": LLAMAGEN}
    small = [dataclasses.replace(find_release(name), config=size) for name, size in sizes.items()]
    monkeypatch.setattr(detecting, "RELEASES", small)


def save_training_checkpoint(path: Path, model: LPD) -> None:
    """A file as the authors' training leaves it."""
    rest = {"optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-4}]}, "epoch": 449}
    rest |= {"scaler": {"scale": 65536.0}, "args": argparse.Namespace(model="lpd_l", betas=(0.9, 0.95))}
    torch.save({"model": model.state_dict()} | rest, path)


@pytest.mark.parametrize(
    ("file", "steps", "guidance", "grid", "repulsion"),
    [
        ("lpd_l_256", 20, 4.8, 16, 2),
        ("lpd_xl_256", 20, 4.9, 16, 2),
        ("lpd_xxl_256", 20, 5.9, 16, 3),
        ("lpd_l_512", 48, 7.3, 32, 4),
        ("lpd_xl_512", 48, 6.0, 32, 4),
    ],
)
def test_released_files_have_our_keys_and_the_defaults_of_the_paper(file, steps, guidance, grid, repulsion):
    release = find_release(file.replace("_", "-"))
    state = LPD(release.config, device="meta").state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == KEYS[file]
    assert (release.file, release.repo, release.tokenizer) == (f"{file}.pth", f"mit-han-lab/{file}", "llamagen-vq16")
    assert (release.config.grid, release.config.head_width) == (grid, 64)
    assert release.defaults == Defaults(guidance, steps=steps, order=LPD.traits.order, repulsion=repulsion)


def test_a_training_checkpoint_of_the_authors_is_recognised_and_drawn_from(tmp_path, small_releases, model):
    save_training_checkpoint(tmp_path / "lpd_l_512.pth", model)
    torch.save({"model": filled(LlamaGenTokenizer(LLAMAGEN)).state_dict()}, tmp_path / "vq_ds16_c2i.pt")
    loaded = load_model(tmp_path / "lpd_l_512.pth", tmp_path / "vq_ds16_c2i.pt")
    assert loaded.name == "lpd-l-512"
    assert loaded.guidance() == Guidance(Linear(1.0, 7.3))
    options = loaded.options()
    assert (options.steps, options.order, options.schedule) == (48, Proximity(4), None)
    state = loaded.transformer.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_a_cut_checkpoint_is_named(tmp_path, model):
    path = tmp_path / "lpd_l_256.pth"
    save_training_checkpoint(path, model)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(CheckpointError, match="lpd_l_256.pth' is a cut or damaged PyTorch"):
        load_transformer(path)


def test_another_grid_than_the_released_ones_is_named(tmp_path, small_releases):
    save_training_checkpoint(tmp_path / "lpd_l_384.pth", filled(LPD(dataclasses.replace(CONFIG, grid=4))))
    with pytest.raises(CheckpointError, match=r"pos_embed is \[1, 17, 32\], expected \[1, 37, 32\]"):
        load_transformer(tmp_path / "lpd_l_384.pth")


def test_a_mar_checkpoint_is_not_taken_for_one_of_lpd(tmp_path):
    shared = {"fake_latent": (1, 8), "mask_token": (1, 1, 8), "z_proj_ln.weight": (8,), "class_emb.weight": (10, 8)}
    tensors = {key: torch.zeros(shape) for key, shape in shared.items()}
    torch.save({"model": tensors | {"diffloss.net.cond_embed.weight": torch.zeros(2, 2)}}, tmp_path / "mar.pth")
    with pytest.raises(CheckpointError, match="not one of the models known here"):
        load_transformer(tmp_path / "mar.pth")


def test_the_command_line_draws_and_converts_and_says_what_it_cannot(tmp_path, model, capsys):
    path, picture = tmp_path / "b.safetensors", tmp_path / "00000_b.png"
    defaults = Defaults(4.0, steps=7, order="proximity")
    save_bundle(path, model, filled(LlamaGenTokenizer(LLAMAGEN)), list("abcde"), defaults)
    assert main(["generate", "b", "--model", str(path), "--out", str(tmp_path)]) == 0
    metadata = json.loads(Image.open(picture).text["parameters"])
    assert (metadata["order"], metadata["steps"], metadata["guidance"]) == ("proximity", 7, [4.0])
    assert main(["convert", str(path), str(tmp_path / "half.safetensors"), "--dtype", "bfloat16"]) == 0
    assert main(["info", str(tmp_path / "half.safetensors")]) == 0
    assert "lpd" in capsys.readouterr().out
    mask = Image.new("L", (2 * GRID, 2 * GRID), 0)
    mask.paste(255, (2, 2, 7, 7))
    mask.save(tmp_path / "mask.png")
    masked = [str(picture), str(tmp_path / "mask.png"), "c"]
    assert main(["inpaint", *masked, "--model", str(path), "--out", str(tmp_path / "i.png")]) == 0
    assert Image.open(tmp_path / "i.png").size == (2 * GRID, 2 * GRID)
    assert main(["extrapolate", str(picture), "b", "--model", str(path)]) == 2
    assert "LPD can't extrapolate" in capsys.readouterr().err
