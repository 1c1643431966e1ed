"""The memory that the nodes ask the host for, next to the account of a feigned GPU.

All cases run in one process of their own: this file, run as a script, prints what they found, and each test below reads
its part of it.

    PYTHONPATH=tests .venv/bin/python tests/devices/test_memory_of_nodes.py
"""

import gc
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from feigned_gpu import FeignedGPU, bytes_on_gpu, install
from gpu_host import host_on
from node_cases import Desk
from node_pack import Pack, load_pack
from own_process import found_of, outcome, print_found

NAME = "wide.safetensors"
# The widths of the released models, a tenth of them: the hidden width is 8/3 of the transformer's.
TRANSFORMER = {"width": 96, "layers": 2, "heads": 6, "codebook_size": 512, "classes": 3, "grid": 8}
TOKENIZER = {"channels": 32, "multipliers": (1, 1, 2), "res_blocks": 2, "z_channels": 32, "norm_groups": 8}


def save_model(pack: Pack) -> None:
    randar, llamagen = pack.module("randar_core.models.randar"), pack.module("randar_core.models.llamagen")
    bundle, releases = pack.module("randar_core.checkpoints.bundle"), pack.module("randar_core.checkpoints.releases")
    transformer = randar.RandAR(randar.RandARConfig(**TRANSFORMER))
    config = llamagen.LlamaGenConfig(**TOKENIZER, codebook_size=512, codebook_dim=8)
    tokenizer = llamagen.LlamaGenTokenizer(config)
    generator = torch.Generator().manual_seed(0)
    for parameter in [*transformer.parameters(), *tokenizer.parameters()]:
        torch.nn.init.normal_(parameter, 0, 0.1 if parameter.ndim > 1 else 1, generator)
    names = ("circle", "square", "star")
    bundle.save_bundle(pack.models / NAME, transformer, tokenizer, names, releases.Defaults(guidance=2.0), "wide")


def star(desk: Desk, **inputs):
    """Inputs of a run with one class everywhere."""
    return {"model": desk.model, "classes": desk.run("RandARClassList", class_list="star")[0], **inputs}


def plain(node_id: str, **inputs) -> Callable[[Desk], tuple]:
    return lambda desk: desk.run(node_id, **star(desk, seed=1, steps=6, cfg=2.0, **inputs))


def in_regions(desk: Desk) -> tuple:
    """Two pictures of a region on a background: three rows each."""
    half = torch.zeros(1, 16, 16)
    half[..., :8] = 1
    inputs = star(desk, seed=1, steps=6, cfg=2.0, batch_size=2)
    circle = desk.run("RandARClassList", class_list="circle")[0]
    region = desk.run("RandARClassRegion", classes=circle, mask=half, background=inputs["classes"])[0]
    return desk.run("RandARSampler", **inputs | {"classes": region})


def repainted(desk: Desk) -> tuple:
    return plain("RandARSampler", latent_image=desk.latent(2, 8, 8), denoise=0.5)(desk)


def scored(desk: Desk) -> tuple:
    return desk.run("RandARConfidence", **star(desk, latent=desk.latent(3, 8, 8), cfg=2.0))


def refined(desk: Desk) -> tuple:
    return plain("RandARRefine", latent=desk.latent(2, 8, 8), forget="share", amount=0.25)(desk)


def inpainted(side: int) -> Callable[[Desk], tuple]:
    def run(desk: Desk) -> tuple:
        mask = torch.zeros(1, side, side)
        mask[:, side // 4 : side // 2, side // 4 : side // 2] = 1
        return plain("RandARInpaint", image=desk.random(1, side, side, 3), mask=mask)(desk)

    return run


def outpainted(desk: Desk) -> tuple:
    sides = {"left": 16, "top": 0, "right": 0, "bottom": 8}
    return plain("RandAROutpaint", image=desk.random(1, 32, 32, 3), **sides)(desk)


CASES: dict[str, Callable[[Desk], tuple]] = {
    "Sampler": plain("RandARSampler", batch_size=3),
    "Sampler, regions": in_regions,
    "Sampler, denoise": repainted,
    "Canvas": plain("RandARCanvas", width=64, height=48),
    "Refine": refined,
    "Confidence": scored,
    "Extrapolate": plain("RandARExtrapolate", factor=2),
    "Inpaint": inpainted(32),
    "Inpaint, a large picture": inpainted(512),
    "Outpaint": outpainted,
    "Feature Map": lambda desk: desk.run("RandARFeatureMap", model=desk.model, image=desk.random(2, 32, 32, 3)),
    "VAE Encode": lambda desk: (desk.vae.encode(desk.random(2, 64, 96, 3)),),
    "VAE Decode": lambda desk: (desk.vae.decode(desk.latent(2, 16, 24)["samples"]),),
}


def asked_and_measured(pack: Pack, case: str) -> tuple[int, int]:
    """Bytes next to the weights that the run asks for at most, and that it takes at most."""
    gpu = FeignedGPU()
    with host_on(gpu) as asked:
        desk = Desk(pack, NAME.removesuffix(".safetensors"))
        CASES[case](desk)  # loads the weights
        gc.collect()
        gpu.forget(), asked.clear()
        CASES[case](desk)
        weights = bytes_on_gpu([desk.model.transformer, desk.vae.tokenizer])
        return int(max(asked)), gpu.peak - weights


@torch.inference_mode()
def work() -> dict[str, dict]:
    torch.set_num_threads(1)
    install()
    with tempfile.TemporaryDirectory() as folder:
        pack = load_pack(Path(folder))
        save_model(pack)
        gc.freeze()
        return {case: outcome(asked_and_measured, pack, case) for case in CASES}


@pytest.mark.parametrize("case", CASES)
def test_a_node_asks_for_what_it_takes(case):
    asked, measured = found_of(case, __file__)
    assert 0.85 * measured <= asked <= 1.15 * measured


if __name__ == "__main__":
    print_found(work())
