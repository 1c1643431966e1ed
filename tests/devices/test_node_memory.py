"""The memory that a node asks for, next to the account of a feigned GPU: in ComfyUI or its stand-in.

Models and pictures are as large as it takes for the networks to outweigh what lies beside them. All cases run in one
process of their own: this file, run as a script, prints what they found, and each test below reads its part of it.

    PYTHONPATH=tests .venv/bin/python tests/devices/test_node_memory.py
"""

import gc
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import pytest
import torch
from feigned_gpu import FeignedGPU, bytes_on_gpu, install
from gpu_host import host_on
from node_cases import FAMILIES, SIZE, Desk, save_families
from node_pack import load_pack
from own_process import found_of, outcome, print_found
from torch import Tensor

MODEL = SIZE | {"width": 96, "codebook_size": 512, "grid": 8, "heads": 6}
TOKENIZER = {"channels": 16, "multipliers": (1, 1, 2, 2), "res_blocks": 1, "z_channels": 32, "norm_groups": 8}


def middle(desk: Desk, height: int, width: int) -> Tensor:
    mask = torch.zeros(1, height, width)
    mask[:, height // 4 : 5 * height // 8, width // 4 : 5 * width // 8] = 1
    return desk.place(mask)


def drawn(desk: Desk, node: str, classes: str = "star", **inputs) -> tuple:
    prompts = desk.run("RandARClassList", class_list=classes)[0]
    return desk.run(node, model=desk.model, classes=prompts, **{"seed": 1, "steps": 4, "cfg": 2.0} | inputs)


def inpainted(
    desk: Desk, side: int, pictures: int = 1, channels: int = 3, small: bool = False, everything: bool = False, **inputs
) -> tuple:
    image, mask = desk.random(pictures, side, side, channels), middle(desk, side, side)
    if small:
        mask[:, : side // 2] = 0
    if everything:
        mask[:] = 1
    return drawn(desk, "RandARInpaint", image=image, mask=mask, **inputs)


def dotted(desk: Desk, side: int, dots: int) -> tuple:
    """A crop for each of the dots in a row and a column."""
    mask, step = torch.zeros(1, side, side), side // dots
    mask[:, step // 2 :: step, step // 2 :: step] = 1
    image = desk.random(1, side, side, 3)
    return drawn(desk, "RandARInpaint", image=image, mask=desk.place(mask), grow_mask_by=2)


def outpainted(desk: Desk, side: int, pictures: int = 1, channels: int = 3, **inputs: int) -> tuple:
    inputs = {"left": 0, "top": 0, "right": 0, "bottom": 0} | inputs
    return drawn(desk, "RandAROutpaint", image=desk.random(pictures, side, side, channels), **inputs)


def refined(desk: Desk, pictures: int, forget: str = "share", **inputs) -> tuple:
    inputs = {"amount": 0.5, "rounds": 1} | inputs
    return drawn(desk, "RandARRefine", latent=desk.latent(pictures, 8, 8), forget=forget, **inputs)


def masked_latents(desk: Desk) -> tuple:
    """Two pictures: of one a cell is drawn, of the other all."""
    masks = torch.zeros(2, 8, 8)
    masks[0, 0, 0], masks[1] = 1, 1
    latent = desk.latent(2, 8, 8, noise_mask=desk.place(masks))
    return drawn(desk, "RandARSampler", latent_image=latent, steps=1)


def regions(desk: Desk, pictures: int, plain: str = "") -> tuple:
    """Pictures of two regions each, and beside each of them one for every class in `plain`."""
    half = torch.zeros(1, 64, 64)
    half[..., :32] = 1
    circle, star = (desk.run("RandARClassList", class_list=name)[0] for name in ("circle", "star"))
    classes = desk.run("RandARClassRegion", classes=circle, mask=desk.place(half), background=star)[0]
    others = desk.run("RandARClassList", class_list=plain)[0] if plain else ()
    settings = {"model": desk.model, "seed": 1, "steps": 4, "cfg": 2.0, "batch_size": pictures}
    return desk.run("RandARSampler", classes=(*classes, *others), **settings)


def scored(desk: Desk, pictures: int = 1) -> tuple:
    star = desk.run("RandARClassList", class_list="star")[0]
    return desk.run("RandARConfidence", model=desk.model, classes=star, latent=desk.latent(pictures, 8, 8), cfg=2.0)


def encoded(desk: Desk, pictures: int = 1) -> tuple:
    return (desk.vae.encode(desk.random(pictures, 64, 64, 3)),)


def matched(desk: Desk) -> tuple:
    image, target = desk.random(1, 64, 80, 3), desk.random(3, 64, 64, 3)
    return desk.run("RandARFeatureMatch", model=desk.model, image=image, mask=middle(desk, 64, 80), target=target)


def feature_maps(desk: Desk, pictures: int) -> tuple:
    return desk.run("RandARFeatureMap", model=desk.model, image=desk.random(pictures, 80, 64, 3))


SAMPLED: dict[str, Callable[[Desk], tuple]] = {
    "a picture": lambda desk: drawn(desk, "RandARSampler"),
    "six pictures": lambda desk: drawn(desk, "RandARSampler", batch_size=6),
    "regions": lambda desk: regions(desk, 2),
    "a picture of regions, and others": lambda desk: regions(desk, 1, "star, circle, square"),
    "canvas": lambda desk: drawn(desk, "RandARCanvas", width=96, height=64),
    "four canvases": lambda desk: drawn(desk, "RandARCanvas", width=80, height=64, batch_size=4),
    "inpainted": lambda desk: inpainted(desk, 64),
    "three large ones inpainted": lambda desk: inpainted(desk, 320, 3),
    "a large one inpainted in part": lambda desk: inpainted(desk, 512, denoise=0.7),
    "nine crops inpainted": lambda desk: dotted(desk, 384, 3),
    "a small mask inpainted": lambda desk: inpainted(desk, 160, channels=4, small=True),
    "outpainted": lambda desk: outpainted(desk, 64, left=32, right=32),
    "two larger ones outpainted": lambda desk: outpainted(desk, 112, 2, channels=4, left=16),
    "refined": lambda desk: refined(desk, 2),
    "scored": lambda desk: scored(desk, 2),
}
# In one call, whose logits take most.
ONE_CALL = {
    "in one call: a canvas": lambda desk: drawn(desk, "RandARCanvas", width=96, height=64, steps=1),
    "in one call: all inpainted": lambda desk: inpainted(desk, 64, everything=True, steps=1),
    "in one call: outpainted": lambda desk: outpainted(desk, 64, left=8, steps=1),
    "in one call: refined": lambda desk: refined(desk, 1, "probability", amount=1.0, steps=1, top_p=0.9),
    "in one call: masked latents": masked_latents,
}
ENLARGED = {"extrapolated": lambda desk: drawn(desk, "RandARExtrapolate", factor=2, latent_image=desk.latent(2, 8, 8))}
READ = {"feature map": lambda desk: feature_maps(desk, 3), "feature match": matched}
CODED = {
    "encoded": encoded,
    "eight encoded": lambda desk: encoded(desk, 8),
    "a large one encoded": lambda desk: (desk.vae.encode(desk.random(1, 256, 320, 3)),),
    "encoded in tiles": lambda desk: (desk.vae.encode_tiled(desk.random(2, 256, 256, 3), 64, 128, 16),),
    "encoded in a tile that is larger": lambda desk: (desk.vae.encode_tiled(desk.random(1, 64, 96, 3), 512, 512, 64),),
    "decoded": lambda desk: (desk.vae.decode(desk.latent(1, 8, 8)["samples"]),),
    "eight decoded": lambda desk: (desk.vae.decode(desk.latent(8, 8, 8)["samples"]),),
    "a large one decoded": lambda desk: (desk.vae.decode(desk.latent(1, 32, 40)["samples"]),),
    "decoded in tiles": lambda desk: (desk.vae.decode_tiled(desk.latent(2, 32, 32)["samples"], 8, 16, 2),),
    "decoded in a tile that is larger": lambda desk: (
        desk.vae.decode_tiled(desk.latent(1, 8, 12)["samples"], 64, 64, 8),
    ),
}
# Of pictures that the tokenizer takes in slices, and of one that it takes in tiles of its own, see `models/tiling.py`.
SLICED = {
    "many outpainted": lambda desk: outpainted(desk, 96, 4, left=32),
    "many inpainted": lambda desk: inpainted(desk, 128, 4),
    "many feature maps": lambda desk: feature_maps(desk, 6),
    "many encoded": lambda desk: (desk.vae.encode(desk.random(8, 96, 96, 3)),),
}
TILED = {
    "a huge one encoded": lambda desk: (desk.vae.encode(desk.random(1, 256, 512, 3)),),
    "a huge one encoded in huge tiles": lambda desk: (
        desk.vae.encode_tiled(desk.random(1, 256, 512, 3), 512, 512, 64),
    ),
    "a huge one decoded": lambda desk: (desk.vae.decode(desk.latent(1, 32, 64)["samples"]),),
}
LIMITS = {
    "PIXELS_AT_ONCE": dict.fromkeys(SLICED, 2**13),
    "WHOLE_BYTES": dict.fromkeys(TILED, 2**22),
    "TILE_SIDE": dict.fromkeys(TILED, 16),
}
CASES = SAMPLED | ONE_CALL | ENLARGED | READ | CODED | SLICED | TILED
RUNS = (
    [(family, case) for family in FAMILIES for case in SAMPLED]
    + [("RandAR", case) for case in ONE_CALL]
    + [(family, case) for family in ("RandAR", "ARPG") for case in ENLARGED]
    + [(family, case) for family in ("RandAR", "LPD", "ARPG") for case in READ]
    + [("RandAR", case) for case in CODED | SLICED | TILED]
)


def asked_and_taken(gpu: FeignedGPU, asked: list[int], desk: Desk, case: str) -> tuple[int, int]:
    with ExitStack() as patches:
        for name, values in LIMITS.items():
            if case in values:
                tiling = desk.pack.module("randar_core.models.tiling")
                patches.enter_context(mock.patch.object(tiling, name, values[case]))
        networks = (desk.model.transformer, desk.vae.tokenizer)
        if bytes_on_gpu(networks) < sum(weight.nbytes for network in networks for weight in network.parameters()):
            for loading in (scored, encoded):  # the weights of the transformer, and those of the tokenizer
                loading(desk)
        gc.collect()
        gpu.forget()
        asked.clear()
        before = gpu.live
        CASES[case](desk)
    return max(asked), gpu.peak - before


@torch.inference_mode()
def work() -> dict[str, dict]:
    torch.set_num_threads(1)
    install()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        pack = load_pack(Path(folder))
        save_families(pack, MODEL, 384, TOKENIZER, layers=2)
        # More windows than one of each picture run together where there is room, and are not asked for.
        one_window = mock.patch.object(pack.module("nodes.run"), "WINDOWS_TOGETHER", 1)
        gpu = FeignedGPU()
        with one_window, host_on(gpu) as asked:
            desks = {family: Desk(pack, family) for family in FAMILIES}
            gc.freeze()
            for family, case in RUNS:
                results[f"{family}, {case}"] = outcome(asked_and_taken, gpu, asked, desks[family], case)
    return results


@pytest.mark.parametrize("family, case", RUNS)
def test_a_node_asks_for_what_it_takes(family, case):
    asked, taken = found_of(f"{family}, {case}", __file__)
    assert 0.85 * taken <= asked <= 1.15 * taken


if __name__ == "__main__":
    print_found(work())
