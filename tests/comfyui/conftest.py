"""One real server for all tests of this folder, with the pack linked into its custom_nodes."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest
import torch

from randar_core.checkpoints.bundle import save_bundle
from randar_core.checkpoints.releases import Defaults
from randar_core.models.llamagen import LlamaGenConfig, LlamaGenTokenizer
from randar_core.models.randar import RandAR, RandARConfig

HERE = Path(__file__).parent
CLASSES = ("circle", "square", "star")


def save_random(path: Path, width: int, layers: int) -> None:
    """A bundle of random weights with 16×16 cells and 128×128 pixels."""
    decoder = RandAR(RandARConfig(width, layers, 4, codebook_size=64, classes=len(CLASSES)))
    sizes = {"channels": 8, "multipliers": (1, 1, 2, 2), "res_blocks": 1, "z_channels": 8, "norm_groups": 4}
    tokenizer = LlamaGenTokenizer(LlamaGenConfig(**sizes, codebook_size=64, codebook_dim=4))
    generator = torch.Generator().manual_seed(0)
    for parameter in [*decoder.parameters(), *tokenizer.parameters()]:
        torch.nn.init.normal_(parameter, 0, 0.1 if parameter.ndim > 1 else 1, generator)
    save_bundle(path, decoder, tokenizer, CLASSES, Defaults(guidance=2.0), path.stem)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    comfyui = os.environ.get("COMFYUI_DIR")
    if not comfyui:
        pytest.skip("COMFYUI_DIR names no ComfyUI")
    spec = importlib.util.spec_from_file_location("comfyui_server", HERE / "server.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    base = tmp_path_factory.mktemp("comfyui")
    for folder in ("custom_nodes", "input", "models/randar"):
        (base / folder).mkdir(parents=True)
    (base / "custom_nodes" / "any-name").symlink_to(HERE.parent.parent)
    save_random(base / "models/randar/tiny.safetensors", 64, 2)
    save_random(base / "models/randar/large.safetensors", 512, 16)
    (base / "models/randar/broken.safetensors").write_bytes(b"\x20\x00")
    python = os.environ.get("COMFYUI_PYTHON") or sys.executable
    with module.Server(Path(comfyui).resolve(), python, base) as server:
        yield server
