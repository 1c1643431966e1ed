"""Every task of every family on a feigned GPU: the ids of the CPU, and a host that doesn't wait in every call.

All cases run in one process of their own: this file, run as a script, prints what they found, and each test below reads
its part of it.

    PYTHONPATH=tests .venv/bin/python tests/devices/test_feigned_gpu.py
"""

import gc
from dataclasses import replace

import pytest
import torch
from feigned_gpu import DEVICE, SECOND_DEVICE, FeignedGPU, install
from own_process import found_of, outcome, print_found
from tiny_devices import CASES, FAMILIES, GRID, OPTIONS, TASKS, Subject, ids, in_regions, subject_of

from randar_core.decoding.canvas import Canvas
from randar_core.decoding.conditions import Condition, Prompt, PromptBatch
from randar_core.decoding.loop import DecodeProgress, decode
from randar_core.decoding.plan import make_plan

MOST_READS = 5  # of a decode, whatever its calls


# The decodes whose waits are counted, by their prompts. Pictures of one kind are decoded together, as a group.


def in_kinds(subject: Subject) -> PromptBatch:
    """Six pictures of four kinds: by the conditions that count in them, two to four, and one everywhere."""
    masks = torch.eye(4).repeat_interleave(GRID, 1).view(4, GRID, GRID).unbind()
    items = [
        Prompt(tuple(Condition((0, 1), (1, 1 + i)) for i in range(count)), masks[:count], Condition.of(2))
        for count in range(1, 5)
    ]
    plain = Prompt((Condition.of(1),))
    return PromptBatch((*items, plain, plain), torch.device(subject.device))


DECODES = {"classes": Subject.classes, "regions and negative": in_regions, "regions of many kinds": in_kinds}


def decode_marked(subject: Subject, gpu: FeignedGPU, prompts: PromptBatch, cells: int) -> dict:
    """Decode where all but `cells` cells are known; what was read and moved in all, and from call to call."""
    batch = len(prompts)
    known = torch.arange(GRID**2, device="cpu").view(1, GRID, GRID).expand(batch, -1, -1) >= cells
    start = Canvas(ids(subject, count=batch), known.to(subject.device))
    options = replace(OPTIONS, steps=GRID**2)
    plan = make_plan(subject.transformer, start.known, options)
    on_cells = prompts.on_cells(GRID, GRID)
    groups, marks = len({condition.kind for condition in on_cells}), []
    gpu.forget()

    def mark(progress: DecodeProgress) -> None:
        marks.append((len(gpu.reads), len(gpu.uploads), len(gpu.downloads)))

    decode(subject.transformer, start, plan, on_cells, options, on_step=mark)
    return {
        "calls": len(marks),
        "groups": groups,
        "reads": list(gpu.reads),
        "uploads": [f"{upload.operator} {upload.dtype} {upload.bytes}" for upload in gpu.uploads],
        "downloaded": sum(download.bytes for download in gpu.downloads),
        "moves at calls": len(set(marks)),
    }


# The process of its own


def check_the_records() -> None:
    """What the feigned GPU refuses, what it records, what it counts."""
    with FeignedGPU() as gpu:
        ones, here = torch.ones(4, 8, device=DEVICE), torch.ones(4, 8, device="cpu")
        assert gpu.live == gpu.peak == 4 * 8 * 4
        with pytest.raises(RuntimeError, match="at least two devices, card:0 and cpu"):
            ones + here
        with pytest.raises(RuntimeError, match="at least two devices"):
            here[torch.zeros(1, dtype=torch.long, device="cpu").to(DEVICE)]
        with pytest.raises(TypeError, match="card:0 device type tensor to numpy"):
            ones.numpy()
        gpu.forget()
        twice = ones + torch.tensor(1.0, device="cpu")
        assert not gpu.reads and not gpu.uploads
        assert torch.equal(ones[torch.tensor([1, 2], device="cpu")].cpu(), here[1:3])
        assert [upload.bytes for upload in gpu.uploads] == [16]
        assert gpu.reads == ["aten::_to_copy"] and [download.bytes for download in gpu.downloads] == [2 * 8 * 4]
        gpu.forget()
        assert twice.sum().item() == 64 and (twice == 2).any() and twice[0].tolist() == [2.0] * 8
        assert twice[twice > 1].shape == (32,)
        found = ["aten::_local_scalar_dense", "aten::_local_scalar_dense", "tolist", "aten::index by a mask"]
        assert gpu.reads == found, gpu.reads
        assert torch.empty_like(here, device=DEVICE).device == torch.device(DEVICE)  # like a tensor of the CPU
        part = ones[:2]
        part += 1
        assert ones.cpu().sum() == 48  # a view shares its storage,
        del ones
        assert gpu.live == 2 * 4 * 8 * 4  # which lives as long as a view
        del part, twice
        assert gpu.live == 0 < gpu.peak


def check_the_limit() -> None:
    """An allocation beyond the limit, and one of a chosen number, leave nothing behind."""
    with FeignedGPU() as gpu:
        gpu.memory.limit = 100
        held = torch.zeros(20, device=DEVICE)
        for allocate in (lambda: held + 1, lambda: torch.ones(6, device=DEVICE), lambda: torch.zeros(6).to(DEVICE)):
            with pytest.raises(torch.OutOfMemoryError, match="card out of memory"):
                allocate()
            assert gpu.live == 80
        held += 1  # takes no memory
        gpu.memory.limit = None
        gpu.forget()
        gpu.memory.failing = 2
        first = held + 1
        with pytest.raises(torch.OutOfMemoryError):
            held + 1
        assert gpu.memory.allocations == 2 and (held + first).sum().item() == 60


def check_the_variants() -> None:
    """GPUs that lack a dtype, and two of them."""
    with FeignedGPU(lacks=[torch.float64, torch.bfloat16]) as gpu:
        ones = torch.ones(2, device=DEVICE)
        assert not ones.is_cuda and not ones.is_cpu
        for to in (ones.double, ones.bfloat16, lambda: torch.zeros(1, dtype=torch.float64, device=DEVICE)):
            with pytest.raises(TypeError, match="card doesn't support it"):
                to()
    with FeignedGPU() as gpu:
        here, there = (torch.ones(2, device=device) for device in (DEVICE, SECOND_DEVICE))
        with pytest.raises(RuntimeError, match="two devices, card:0 and card:1"):
            here + there
        moved = here.to(SECOND_DEVICE) + there
        assert moved.device == torch.device(SECOND_DEVICE) and moved.cpu().tolist() == [2, 2]
        assert [memory.live for memory in gpu.memories] == [8, 16]


TOOL = {"records": check_the_records, "limit": check_the_limit, "variants": check_the_variants}


def task_on_both(subject: Subject, on_gpu: Subject, gpu: FeignedGPU, case: str) -> None:
    """A task has the ids of the CPU, its other results close to the CPU's, and leaves nothing on the GPU."""
    gpu.forget()
    before = gpu.live
    expected = CASES[case](subject)
    with gpu:
        found = CASES[case](on_gpu)
        for name, values in expected.items():
            assert found[name].is_cuda, f"{name} lies on {found[name].device}"
            tolerance = {"rtol": 1e-3, "atol": 1e-4} if values.is_floating_point() else {"rtol": 0, "atol": 0}
            torch.testing.assert_close(
                found[name].cpu(), values, **tolerance, msg=lambda text, name=name: f"{name}: {text}"
            )
    assert gpu.peak > before
    del found
    if gpu.live != before:
        gc.collect()  # of reference cycles
    assert gpu.live == before, f"{gpu.live - before} bytes are left on the GPU"


def waits_of(on_gpu: Subject, gpu: FeignedGPU, kind: str) -> list[dict]:
    with gpu:
        return [decode_marked(on_gpu, gpu, PromptBatch.of(DECODES[kind](on_gpu)), cells) for cells in (6, 12)]


@torch.no_grad()
def work() -> dict[str, dict]:
    """What every case found, by its name."""
    torch.set_num_threads(1)
    install()
    gc.freeze()  # collections needn't look through all that torch has imported
    results = {f"the tool: {name}": outcome(check) for name, check in TOOL.items()}
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


@pytest.mark.parametrize("part", TOOL)
def test_the_feigned_gpu_refuses_what_cuda_refuses_and_counts_reads_and_bytes(part):
    found_of(f"the tool: {part}", __file__)


@pytest.mark.parametrize("family, case", TASKS)
def test_a_task_gives_on_the_gpu_what_it_gives_on_the_cpu(family, case):
    found_of(f"{family}, {case}", __file__)


@pytest.mark.parametrize("kind", DECODES)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_host_waits_a_few_times_in_a_decode_whatever_its_calls(family, kind):
    few, many = found_of(f"{family}, waits, {kind}", __file__)
    assert many["calls"] > few["calls"] > few["groups"]
    assert len(many["reads"]) == len(few["reads"]) <= MOST_READS, many["reads"]


@pytest.mark.parametrize("kind", DECODES)
@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_moves_between_host_and_gpu_from_call_to_call(family, kind):
    few, many = found_of(f"{family}, waits, {kind}", __file__)
    assert many["moves at calls"] == few["moves at calls"] <= many["groups"]
    assert len(many["uploads"]) == len(few["uploads"]), many["uploads"]
    assert many["downloaded"] == few["downloaded"]


if __name__ == "__main__":
    print_found(work())
