"""Every task of every family on a feigned GPU: the ids of the CPU, and a host that doesn't wait in every call.

torch keeps such a device for the life of a process. All cases run in one process of their own: this file, run as a
script, prints what they found, and each test below reads its part of it.

    PYTHONPATH=tests .venv/bin/python tests/devices/test_feigned_gpu.py        what the tests read, as JSON
"""

import gc
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest
import tiny
import torch
from feigned_gpu import DEVICE, FeignedGPU, install
from torch import Tensor, nn

from randar_core.decoding.canvas import Canvas
from randar_core.decoding.conditions import Condition, Prompt, PromptBatch
from randar_core.decoding.guidance import Guidance, Linear
from randar_core.decoding.loop import DecodeProgress, decode
from randar_core.decoding.options import DecodingOptions
from randar_core.decoding.orders import Painted
from randar_core.decoding.plan import make_plan
from randar_core.decoding.sampling import Sampling
from randar_core.models.arpg import ARPG, ARPGConfig
from randar_core.models.lpd import LPD, LPDConfig
from randar_core.tasks.confidence import score_confidence
from randar_core.tasks.extrapolate import extrapolate
from randar_core.tasks.features import feature_map, features, match
from randar_core.tasks.fill import fill
from randar_core.tasks.generate import generate
from randar_core.tasks.inpaint import inpaint
from randar_core.tasks.outpaint import outpaint
from randar_core.tasks.refine import refine

TESTS = Path(__file__).parent.parent
GRID, SIDE = 4, 8
OPTIONS = DecodingOptions(Guidance(Linear(1.5, 4.0)), steps=3, seed=3)
SPATIAL = replace(OPTIONS, guidance=Guidance(Linear(1.5, 1.5), Linear(2.0, 2.0)))
MOST_READS = 5  # of a decode, whatever its calls


@dataclass(frozen=True)
class Subject:
    """A transformer and its tokenizer on a device."""

    transformer: nn.Module
    tokenizer: nn.Module
    device: str = "cpu"

    def on(self, device: str) -> "Subject":
        return Subject(self.transformer.to(device), self.tokenizer.to(device), device)

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


FAMILIES = {"RandAR": tiny.randar, "RAR": tiny.rar, "LPD": lpd, "ARPG": arpg}


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


def generated(subject: Subject, options=OPTIONS, conditions=None, **more):
    conditions = subject.classes() if conditions is None else conditions
    return drawn(generate(subject.transformer, conditions, options, **more))


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


def inpainted(subject: Subject, conditions=None, width: int = SIDE, **more):
    conditions = subject.classes() if conditions is None else conditions
    picture, mask = pixels(subject, width=width), box(subject, width=width)
    result = inpaint(subject.transformer, subject.tokenizer, picture, mask, conditions, OPTIONS, **more)
    return drawn(result.decoded) | {"pixels": result.pixels, "confidence of pixels": result.confidence}


def outpainted(subject: Subject, conditions=None):
    conditions = subject.classes() if conditions is None else conditions
    sides = {"left": 3, "bottom": 5, "seam": 4}
    result = outpaint(subject.transformer, subject.tokenizer, pixels(subject), conditions, OPTIONS, **sides)
    return drawn(result.decoded) | {"pixels": result.pixels}


def extrapolated(subject: Subject, conditions=None, **more):
    conditions = subject.classes() if conditions is None else conditions
    return drawn(extrapolate(subject.transformer, conditions, SPATIAL, 2, **more))


def refined(subject: Subject, conditions=None, width: int = GRID, **more):
    conditions = subject.classes() if conditions is None else conditions
    return drawn(refine(subject.transformer, ids(subject, width=width), conditions, OPTIONS, **more))


def scored(subject: Subject, conditions=None, share: float = 0.3):
    conditions = subject.classes() if conditions is None else conditions
    picture = Canvas(ids(subject), known(subject, share))
    return {"confidence": score_confidence(subject.transformer, picture, conditions, OPTIONS)}


def featured(subject: Subject):
    found = features(subject.transformer, ids(subject), orders=2, prompts=subject.classes())
    marked = known(subject, 0.3)[0]
    alike = match(found[0], marked, found[1])
    return {"features": found, "map": feature_map(found), "similarity": alike.similarity, "mask": alike.mask}


def coded(subject: Subject):
    found = subject.tokenizer.encode(pixels(subject))
    return {"ids": found, "pixels": subject.tokenizer.decode(found)}


CASES: dict[str, Callable[[Subject], dict[str, Tensor]]] = {
    "generate": generated,
    "generate, sampling": sampled,
    "generate, painted order": painted_order,
    "generate, order of cells": order_of_cells,
    "generate, several batches": several_batches,
    "generate, regions and negative": lambda subject: generated(subject, conditions=in_regions(subject)),
    "generate, a larger canvas": lambda subject: generated(subject, height=GRID + 1, width=GRID * 2),
    "generate, a larger canvas, regions and negative": lambda subject: generated(
        subject, conditions=in_regions(subject), height=GRID, width=GRID * 2
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
}
REFUSED = [("RAR", "extrapolate"), ("LPD", "extrapolate"), ("RAR", "features")]
TASKS = [(family, case) for family in FAMILIES for case in CASES if (family, case.split(",")[0]) not in REFUSED]

# The decodes whose waits are counted: conditions, and how many cells are known before.
DECODES = {"classes": Subject.classes, "regions and negative": in_regions}


def decode_marked(subject: Subject, gpu: FeignedGPU, conditions: PromptBatch, cells: int) -> dict:
    """Decode where all but `cells` cells are known; what was read and moved in all, and after the first call."""
    start = Canvas(ids(subject), torch.arange(GRID**2, device="cpu").view(1, GRID, GRID).expand(2, -1, -1) >= cells)
    start = Canvas(start.ids, start.known.to(subject.device))
    options = replace(OPTIONS, steps=GRID**2)
    plan = make_plan(subject.transformer, start.known, options)
    on_cells = PromptBatch.of(conditions).on_cells(GRID, GRID)
    groups, marks = len({condition.kind for condition in on_cells}), []
    gpu.reads.clear(), gpu.uploads.clear()

    def mark(progress: DecodeProgress) -> None:
        marks.append((len(gpu.reads), len(gpu.uploads)))

    decode(subject.transformer, start, plan, on_cells, options, on_step=mark)
    return {
        "calls": len(marks),
        "groups": groups,
        "reads": list(gpu.reads),
        "uploads": [f"{upload.operator} {upload.dtype} {upload.bytes}" for upload in gpu.uploads],
        "moves at calls": len(set(marks)),
    }


# The process of its own


def check_the_tool() -> None:
    """The feigned GPU itself: what it refuses, what it records, what it counts."""
    with FeignedGPU() as gpu:
        ones, here = torch.ones(4, 8, device=DEVICE), torch.ones(4, 8, device="cpu")
        assert gpu.live == gpu.peak == 4 * 8 * 4
        with pytest.raises(RuntimeError, match="at least two devices, card:0 and cpu"):
            ones + here
        with pytest.raises(RuntimeError, match="at least two devices"):
            here[torch.zeros(1, dtype=torch.long, device="cpu").to(DEVICE)]
        with pytest.raises(TypeError, match="card:0 device type tensor to numpy"):
            ones.numpy()
        gpu.uploads.clear()
        twice = ones + torch.tensor(1.0, device="cpu")
        assert not gpu.reads and not gpu.uploads
        assert torch.equal(ones[torch.tensor([1, 2], device="cpu")].cpu(), here[1:3])
        assert [upload.bytes for upload in gpu.uploads] == [16]
        assert gpu.reads == ["aten::_to_copy"]
        gpu.reads.clear()
        assert twice.sum().item() == 64 and (twice == 2).any() and twice[0].tolist() == [2.0] * 8
        assert twice[twice > 1].shape == (32,)
        found = ["aten::_local_scalar_dense", "aten::_local_scalar_dense", "tolist", "aten::index by a mask"]
        assert gpu.reads == found, gpu.reads
        part = ones[:2]
        part += 1
        assert ones.cpu().sum() == 48  # a view shares its storage,
        del ones
        assert gpu.live == 2 * 4 * 8 * 4  # which lives as long as a view
        del part, twice
        assert gpu.live == 0 < gpu.peak


def task_on_both(subject: Subject, on_gpu: Subject, gpu: FeignedGPU, case: str) -> None:
    before = gpu.live
    expected = CASES[case](subject)
    with gpu:
        found = CASES[case](on_gpu)
        for name, values in expected.items():
            assert found[name].is_cuda, f"{name} lies on {found[name].device}"
            torch.testing.assert_close(
                found[name].cpu(), values, rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
            )
    assert gpu.peak > before
    del found
    if gpu.live != before:
        gc.collect()  # of reference cycles
    assert gpu.live == before, f"{gpu.live - before} bytes are left on the GPU"


def waits_of(on_gpu: Subject, gpu: FeignedGPU, kind: str) -> list[dict]:
    with gpu:
        return [decode_marked(on_gpu, gpu, DECODES[kind](on_gpu), cells) for cells in (6, 12)]


def outcome(function: Callable, *arguments) -> dict:
    try:
        return {"value": function(*arguments)}
    except Exception:
        return {"error": traceback.format_exc()}


@torch.no_grad()
def work() -> dict[str, dict]:
    """What every case found, by its name."""
    torch.set_num_threads(1)
    install()
    gc.freeze()  # collections needn't look through all that torch has imported
    results = {"the tool": outcome(check_the_tool)}
    for family in FAMILIES:
        gpu = FeignedGPU()
        with gpu:
            on_gpu = subject_of(family).on(DEVICE)
        for kind in DECODES:
            results[f"{family}, waits, {kind}"] = outcome(waits_of, on_gpu, gpu, kind)
        subject = subject_of(family)
        for case in (case for name, case in TASKS if name == family):
            results[f"{family}, {case}"] = outcome(task_on_both, subject, on_gpu, gpu, case)
    return results


@cache
def all_found() -> dict[str, dict]:
    environment = os.environ | {"PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
    process = subprocess.run([sys.executable, __file__], capture_output=True, text=True, env=environment)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def found_of(name: str):
    found = all_found()[name]
    if "error" in found:
        pytest.fail(found["error"], pytrace=False)
    return found["value"]


def test_the_feigned_gpu_refuses_what_cuda_refuses_and_counts_reads_and_bytes():
    found_of("the tool")


@pytest.mark.parametrize("family, case", TASKS)
def test_a_task_gives_on_the_gpu_what_it_gives_on_the_cpu(family, case):
    found_of(f"{family}, {case}")


@pytest.mark.parametrize("kind", DECODES)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_host_waits_a_few_times_in_a_decode_whatever_its_calls(family, kind):
    few, many = found_of(f"{family}, waits, {kind}")
    assert many["calls"] > few["calls"] > few["groups"]
    assert len(many["reads"]) == len(few["reads"]) <= MOST_READS, many["reads"]


@pytest.mark.parametrize("kind", DECODES)
@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_moves_between_host_and_gpu_from_call_to_call(family, kind):
    few, many = found_of(f"{family}, waits, {kind}")
    assert many["moves at calls"] == few["moves at calls"] <= many["groups"]
    assert len(many["uploads"]) == len(few["uploads"]), many["uploads"]


if __name__ == "__main__":
    print(json.dumps(work()))
