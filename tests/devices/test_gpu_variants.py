"""The golden cases on a feigned GPU, and GPUs that are not CUDA's, lack a dtype or are not the first of the machine.

All cases run in one process of their own: this file, run as a script, prints what they found, and each test below reads
its part of it.

    PYTHONPATH=tests .venv/bin/python tests/devices/test_gpu_variants.py
"""

import gc
from functools import cache

import pytest
import torch
from feigned_gpu import DEVICE, SECOND_DEVICE, FeignedGPU, install
from own_process import found_of, outcome, print_found
from test_golden import CHECKS, FILES, Case, kind
from tiny_devices import CASES, FAMILIES, TASKS, subject_of

GOLDEN = [path.stem for path in FILES]
# One of each task: what differs between GPUs differs in all of its cases.
CHOSEN = [
    "generate, regions and negative",
    "inpaint, denoise",
    "extrapolate",
    "features",
    "encode and decode",
]
CHOSEN_TASKS = [(family, case) for family, case in TASKS if case in CHOSEN]
VARIANTS = {  # device, dtypes that it lacks, dtype of the model
    "no float64": (DEVICE, [torch.float64], None),
    "no bfloat16": (DEVICE, [torch.bfloat16], torch.float16),
    "the second GPU": (SECOND_DEVICE, [], None),
}


def check_golden(path) -> None:
    """A golden case with model and inputs on the GPU; the ids are exact."""
    with FeignedGPU() as gpu:
        case = Case(path, DEVICE)
        CHECKS[kind(path)](case)
        assert not case.unread and gpu.peak > 0


@cache
def on_cpu(family: str, case: str, dtype: torch.dtype | None) -> dict:
    return CASES[case](subject_of(family).on("cpu", dtype))


def ids_on_both(family: str, case: str, device: str, lacks: list[torch.dtype], dtype: torch.dtype | None) -> None:
    """A task has the ids of the CPU in the same dtype, and nothing lies on the other GPU."""
    expected = on_cpu(family, case, dtype)
    with FeignedGPU(lacks) as gpu:
        found = CASES[case](subject_of(family).on(device, dtype))
        assert {values.device for values in found.values()} == {torch.device(device)}
        if "features" in expected:
            torch.testing.assert_close(found["features"].cpu(), expected["features"], rtol=1e-2, atol=1e-2)
        else:
            equal = found["ids"].cpu() == expected["ids"]
            # In 16 bits the CPU and the GPU rotate by other operations, and what is least confident may change.
            assert equal.all() if dtype is None else equal.float().mean() > 0.7
    used, unused = gpu.memories if device == DEVICE else gpu.memories[::-1]
    assert used.peak > 0 == unused.peak


@torch.no_grad()
def work() -> dict[str, dict]:
    torch.set_num_threads(1)
    install()
    gc.freeze()
    results = {path.stem: outcome(check_golden, path) for path in FILES}
    for variant, settings in VARIANTS.items():
        for family, case in CHOSEN_TASKS:
            results[f"{variant}, {family}, {case}"] = outcome(ids_on_both, family, case, *settings)
    return results


@pytest.mark.parametrize("name", GOLDEN)
def test_a_golden_case_holds_on_the_gpu(name):
    found_of(name, __file__)


@pytest.mark.parametrize("family, case", CHOSEN_TASKS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_task_has_the_ids_of_the_cpu_on_other_gpus(variant, family, case):
    found_of(f"{variant}, {family}, {case}", __file__)


def test_every_family_and_task_is_among_the_chosen_ones():
    assert {family for family, _ in CHOSEN_TASKS} == set(FAMILIES)


if __name__ == "__main__":
    print_found(work())
