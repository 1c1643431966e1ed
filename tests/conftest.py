"""What the tests of several rooms share: the node pack in its host, and a tiny model that it has loaded."""

import importlib.util
from pathlib import Path

import pytest
import torch
from hosted_pack import load_pack

if importlib.util.find_spec("hypothesis"):  # ComfyUI's own Python has none
    from hypothesis import settings

    # No example has a deadline: several workers share the machine, with whatever else runs there.
    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")

CLASSES = ("circle", "square", "star")


@pytest.fixture(scope="session")
def pack(tmp_path_factory):
    return load_pack(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def tiny(pack) -> Path:
    """A bundle of random weights in the models folder: 4×4 cells, 16×16 pixels, 3 classes."""
    path = pack.models / "tiny.safetensors"
    randar, llamagen = pack.module("randar_core.models.randar"), pack.module("randar_core.models.llamagen")
    bundle, releases = pack.module("randar_core.checkpoints.bundle"), pack.module("randar_core.checkpoints.releases")
    sizes = {"channels": 8, "multipliers": (1, 1, 2), "res_blocks": 1, "z_channels": 8, "norm_groups": 4, "margin": 1}
    decoder = randar.RandAR(randar.RandARConfig(32, 2, 4, codebook_size=32, classes=len(CLASSES), grid=4))
    tokenizer = llamagen.LlamaGenTokenizer(llamagen.LlamaGenConfig(**sizes, codebook_size=32, codebook_dim=4))
    generator = torch.Generator().manual_seed(0)
    for parameter in [*decoder.parameters(), *tokenizer.parameters()]:
        torch.nn.init.normal_(parameter, 0, 0.3 if parameter.ndim > 1 else 1, generator)
    bundle.save_bundle(path, decoder, tokenizer, CLASSES, releases.Defaults(guidance=2.0), "tiny")
    return path


@pytest.fixture(scope="session")
def model(pack, tiny):
    # In float32 on every machine: 16 bits round otherwise in other batches.
    return pack.run("RandARLoadModel", model_name=tiny.name, weight_dtype="fp32")[0]


@pytest.fixture
def reports(pack, monkeypatch):
    """What a run tells ComfyUI: value, total and preview of each report."""
    import comfy.utils

    seen = []
    monkeypatch.setattr(
        comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, preview, **_: seen.append((value, total, preview))
    )
    return seen
