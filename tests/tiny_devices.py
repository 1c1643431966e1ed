"""Every task of every family on tiny models, as cases for any device: `CASES` by name, `TASKS` with the families."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from unittest import mock

import tiny
import torch
from torch import Tensor, nn

from randar_core.decoding.canvas import Canvas
from randar_core.decoding.conditions import Condition, Prompt, PromptBatch
from randar_core.decoding.guidance import Guidance, Linear
from randar_core.decoding.loop import DecodeProgress
from randar_core.decoding.options import DecodingOptions
from randar_core.decoding.orders import ORDERS, Painted
from randar_core.decoding.sampling import Sampling
from randar_core.decoding.schedule import SCHEDULES
from randar_core.models import tiling
from randar_core.models.arpg import ARPG, ARPGConfig
from randar_core.models.lpd import LPD, LPDConfig
from randar_core.models.maskgit import MaskGITConfig, MaskGITTokenizer
from randar_core.models.patches import PatchConfig, PatchTokenizer
from randar_core.tasks.confidence import score_confidence
from randar_core.tasks.extrapolate import extrapolate
from randar_core.tasks.features import feature_map, features, match
from randar_core.tasks.fill import fill
from randar_core.tasks.generate import generate
from randar_core.tasks.inpaint import inpaint
from randar_core.tasks.outpaint import outpaint
from randar_core.tasks.refine import refine

GRID, SIDE = 4, 8
OPTIONS = DecodingOptions(Guidance(Linear(1.5, 4.0)), steps=3, seed=3)
SPATIAL = replace(OPTIONS, guidance=Guidance(Linear(1.5, 1.5), Linear(2.0, 2.0)))


@dataclass(frozen=True)
class Subject:
    """A transformer and its tokenizer on a device."""

    transformer: nn.Module
    tokenizer: nn.Module
    device: str = "cpu"

    def on(self, device: str, dtype: torch.dtype | None = None) -> "Subject":
        return Subject(self.transformer.to(device, dtype), self.tokenizer.to(device), device)

    def classes(self, count: int = 2) -> Tensor:
        return (torch.arange(count, device="cpu") % len(tiny.NAMES)).to(self.device)


def arpg() -> ARPG:
    model = ARPG(ARPGConfig(32, 2, 2, tiny.CODES, len(tiny.NAMES), GRID))
    tiny.randomise(model)
    return model.eval().requires_grad_(False)


def lpd() -> LPD:
    model = LPD(LPDConfig(32, 2, 2, tiny.CODES, len(tiny.NAMES), GRID))
    tiny.randomise(model)
    return model.eval().requires_grad_(False)


# RAR draws one cell a call: each layer of it takes as long as those of all other families together.
FAMILIES = {"RandAR": tiny.randar, "RAR": lambda: tiny.rar(layers=1), "LPD": lpd, "ARPG": arpg}


def subject_of(family: str) -> Subject:
    return Subject(FAMILIES[family](), tiny.tokenizer())


# What the cases start from: the same numbers on every device.


def pixels(subject: Subject, height: int = SIDE, width: int = SIDE, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.rand(count, 3, height, width, generator=generator).to(subject.device)


def ids(subject: Subject, height: int = GRID, width: int = GRID, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(tiny.CODES, (count, height, width), generator=generator).to(subject.device)


def known(subject: Subject, share: float, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(6)
    return (torch.rand(count, GRID, GRID, generator=generator) < share).to(subject.device)


def box(subject: Subject, height: int = SIDE, width: int = SIDE) -> Tensor:
    """A mask `[1, height, width]` of two boxes."""
    mask = torch.zeros(1, height, width)
    mask[:, height // 3 : height * 2 // 3, width // 2 : width * 3 // 4] = 1
    mask[:, :2, :2] = 0.5
    return mask.to(subject.device)


def in_regions(subject: Subject) -> PromptBatch:
    """Two pictures: one of two overlapping regions on a background with a negative, one of a mixture of classes."""
    left, low = torch.zeros(SIDE, SIDE), torch.zeros(SIDE, SIDE)
    left[:, :3], low[5:] = 1, 0.7
    zero, one, two = (Condition.of(class_id) for class_id in range(3))
    regions = Prompt((one, two), (left.to(subject.device), low.to(subject.device)), zero, negative=two)
    mixture = Prompt((Condition((0, 2), (1.0, 3.0)),), negative=one)
    return PromptBatch((regions, mixture), torch.device(subject.device))


def drawn(decoded: DecodeProgress) -> dict[str, Tensor]:
    return {"ids": decoded.ids, "known": decoded.known, "confidence": decoded.confidence}


# The cases: each gives tensors that must be the same on both devices.


def generated(subject: Subject, options=OPTIONS, prompts=None, **more):
    prompts = subject.classes() if prompts is None else prompts
    return drawn(generate(subject.transformer, prompts, options, **more))


def painted_order(subject: Subject):
    return generated(subject, replace(OPTIONS, order=Painted(box(subject)[0])))


def order_of_cells(subject: Subject):
    order = torch.arange(GRID**2, device="cpu").flip(0).to(subject.device)
    return generated(subject, replace(OPTIONS, order=order))


def sampled(subject: Subject):
    return generated(subject, replace(OPTIONS, sampling=Sampling(temperature=0.8, top_k=9, top_p=0.9)))


def several_batches(subject: Subject):
    options = replace(OPTIONS, batch_size=2, batch_index=[7, 2, 7])
    return generated(subject, options, subject.classes(3))


def canvas(subject: Subject):
    start = Canvas(ids(subject), known(subject, 0.5))
    return drawn(fill(subject.transformer, start, subject.classes(), OPTIONS))


def inpainted(subject: Subject, prompts=None, width: int = SIDE, **more):
    prompts = subject.classes() if prompts is None else prompts
    picture, mask = pixels(subject, width=width), box(subject, width=width)
    result = inpaint(subject.transformer, subject.tokenizer, picture, mask, prompts, OPTIONS, **more)
    return drawn(result.decoded) | {"pixels": result.pixels, "confidence of pixels": result.confidence}


def outpainted(subject: Subject, prompts=None):
    prompts = subject.classes() if prompts is None else prompts
    sides = {"left": 3, "bottom": 5, "seam": 4}
    result = outpaint(subject.transformer, subject.tokenizer, pixels(subject), prompts, OPTIONS, **sides)
    return drawn(result.decoded) | {"pixels": result.pixels}


def extrapolated(subject: Subject, prompts=None, **more):
    prompts = subject.classes() if prompts is None else prompts
    return drawn(extrapolate(subject.transformer, prompts, SPATIAL, 2, **more))


def refined(subject: Subject, prompts=None, width: int = GRID, **more):
    prompts = subject.classes() if prompts is None else prompts
    return drawn(refine(subject.transformer, ids(subject, width=width), prompts, OPTIONS, **more))


def scored(subject: Subject, prompts=None, share: float = 0.3):
    prompts = subject.classes() if prompts is None else prompts
    picture = Canvas(ids(subject), known(subject, share))
    return {"confidence": score_confidence(subject.transformer, picture, prompts, OPTIONS)}


def featured(subject: Subject):
    found = features(subject.transformer, ids(subject), orders=2, prompts=subject.classes())
    marked = known(subject, 0.3)[0]
    alike = match(found[0], marked, found[1])
    return {"features": found, "map": feature_map(found), "similarity": alike.similarity, "mask": alike.mask}


def coded(subject: Subject, tokenizer: nn.Module | None = None, **size):
    tokenizer = subject.tokenizer if tokenizer is None else tokenizer.to(subject.device)
    found = tokenizer.encode(pixels(subject, **size))
    return {"ids": found, "pixels": tokenizer.decode(found)}


def in_tiles(subject: Subject):
    """Coded with so little memory that pictures of 8 × 12 cells go in tiles of 4 × 4."""
    with mock.patch.multiple(tiling, WHOLE_BYTES=20000, TILE_SIDE=4, TILE_OVERLAP=2):
        assert subject.tokenizer.whole_at_most < 2 * SIDE * 3 * SIDE
        return coded(subject, height=2 * SIDE, width=3 * SIDE)


def in_slices(subject: Subject):
    """Coded one picture at a time."""
    with mock.patch.multiple(tiling, PIXELS_AT_ONCE=SIDE**2, PIXELS_AT_ONCE_ON_CPU=SIDE**2):
        return coded(subject, count=3)


def maskgit() -> MaskGITTokenizer:
    model = MaskGITTokenizer(MaskGITConfig(8, (1, 2), 1, tiny.CODES, 4, 4))
    tiny.randomise(model)
    return model.eval().requires_grad_(False)


def patches() -> PatchTokenizer:
    config = PatchConfig(tiny.CODES, factor=2, blocks=(2, 1), widths=(8, 4), res_blocks=(1, 1))
    model = PatchTokenizer(config)
    tiny.randomise(model)
    return model.eval().requires_grad_(False)


def in_named_order(order: str, schedule: str) -> Callable[[Subject], dict[str, Tensor]]:
    return lambda subject: generated(subject, replace(OPTIONS, order=ORDERS[order], schedule=schedule))


CASES: dict[str, Callable[[Subject], dict[str, Tensor]]] = {
    "generate": generated,
    "generate, sampling": sampled,
    "generate, painted order": painted_order,
    "generate, order of cells": order_of_cells,
    "generate, several batches": several_batches,
    "generate, regions and negative": lambda subject: generated(subject, prompts=in_regions(subject)),
    "generate, a larger canvas": lambda subject: generated(subject, height=GRID + 1, width=GRID * 2),
    "generate, a larger canvas, regions and negative": lambda subject: generated(
        subject, prompts=in_regions(subject), height=GRID, width=GRID * 2
    ),
    "generate, a smaller canvas": lambda subject: generated(subject, height=GRID - 1, width=GRID - 2),
    "canvas": canvas,
    "inpaint": lambda subject: inpainted(subject, grow=1, seam=2),
    "inpaint, a wide picture": lambda subject: inpainted(subject, width=3 * SIDE, context=1.5),
    "inpaint, denoise": lambda subject: inpainted(subject, denoise=0.6),
    "inpaint, regions and negative": lambda subject: inpainted(subject, in_regions(subject), denoise=0.6),
    "outpaint": outpainted,
    "outpaint, regions and negative": lambda subject: outpainted(subject, in_regions(subject)),
    "extrapolate": extrapolated,
    "extrapolate, from a picture": lambda subject: extrapolated(subject, ids=ids(subject)),
    "extrapolate, regions and negative": lambda subject: extrapolated(subject, in_regions(subject)),
    "refine, a share": lambda subject: refined(subject, share=0.3, rounds=2),
    "refine, below a probability": lambda subject: refined(subject, below=0.1, fixed=known(subject, 0.2)),
    "refine, a wide picture": lambda subject: refined(subject, width=GRID + 2, share=0.3),
    "refine, regions and negative": lambda subject: refined(subject, in_regions(subject), share=0.3),
    "confidence": scored,
    "confidence, regions and negative": lambda subject: scored(subject, in_regions(subject)),
    "features": featured,
    "encode and decode": coded,
    "encode and decode, in tiles": in_tiles,
    "encode and decode, in slices": in_slices,
    "encode and decode, margin": lambda subject: coded(subject, tiny.tokenizer(margin=2, decoder_multipliers=(2, 1))),
    "encode and decode, MaskGIT": lambda subject: coded(subject, maskgit()),
    "encode and decode, patches": lambda subject: coded(subject, patches()),
}
CASES |= {
    f"generate, {order} and {schedule}": in_named_order(order, schedule)
    for order, schedule in zip(ORDERS, itertools.cycle(SCHEDULES), strict=False)
}
REFUSED = [("RAR", "extrapolate"), ("LPD", "extrapolate"), ("RAR", "features")]
# All families share their tokenizer: it is enough to code pictures with that of one.
TASKS = [
    (family, case)
    for family in FAMILIES
    for case in CASES
    if (family, case.split(",")[0]) not in REFUSED and (family == "RandAR" or not case.startswith("encode"))
]
