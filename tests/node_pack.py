"""The node pack inside a host, a fake ComfyUI or the real one of NODE_TEST_HOST, and a tiny model for it."""

import asyncio
import importlib
import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch

ROOT = Path(__file__).parent.parent
CLASSES = ("circle", "square", "star")


def load_file(name: str, path: Path, **more) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path, **more)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class Pack:
    """The loaded pack: `nodes` by id, and the folder `models/randar` of its host."""

    nodes: dict
    models: Path

    def module(self, name: str) -> ModuleType:
        return importlib.import_module(f"pack_under_test.{name}")

    def run(self, node_id: str, **inputs) -> tuple:
        """What a node puts out, run as ComfyUI does."""
        with torch.inference_mode():
            return self.nodes[node_id].execute(**inputs).result


def load_pack(models: Path) -> Pack:
    """The pack, loaded once in a process, in its host with the folder `models`."""
    host = load_file("fake_comfyui", Path(__file__).parent / "fake_comfyui.py")
    if os.environ.get("NODE_TEST_HOST"):
        host.use_real_host(os.environ["NODE_TEST_HOST"], models)
    else:
        host.install(models)
    # Under a name of its own and off sys.path, as ComfyUI loads it.
    door = load_file("pack_under_test", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])

    async def node_classes():
        return await (await door.comfy_entrypoint()).get_node_list()

    nodes = {node.GET_SCHEMA().node_id: node for node in asyncio.run(node_classes())}
    (models / "randar").mkdir()
    return Pack(nodes, models / "randar")


def tiny_bundle(pack: Pack) -> Path:
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
