"""The memory that a run asks for, next to the account of a feigned GPU: all families, tasks, batches and rows.

All cases run in one process of their own: this file, run as a script, prints what they found, and each test below reads
its part of it.

    PYTHONPATH=tests .venv/bin/python tests/devices/test_stated_memory.py
"""

import gc
from dataclasses import dataclass, replace

import pytest
import tiny
import torch
from feigned_gpu import DEVICE, FeignedGPU, install
from own_process import found_of, outcome, print_found
from torch import Tensor, nn

from randar_core.decoding.canvas import Canvas
from randar_core.decoding.conditions import Condition, Prompt, PromptBatch
from randar_core.decoding.guidance import UNGUIDED, Guidance, Linear
from randar_core.decoding.options import DecodingOptions
from randar_core.decoding.sampling import Sampling
from randar_core.models.arpg import ARPG, ARPGConfig
from randar_core.models.lpd import LPD, LPDConfig
from randar_core.models.randar import RandAR, RandARConfig
from randar_core.models.rar import RAR, RARConfig
from randar_core.tasks.confidence import score_confidence
from randar_core.tasks.extrapolate import extrapolate
from randar_core.tasks.fill import fill
from randar_core.tasks.memory import decode_bytes, score_bytes

GRID = 8
# The hidden width of the feed-forward layers is that of the releases, in widths.
SIZE = {"width": 96, "layers": 2, "heads": 6, "codebook_size": 512, "classes": 4, "grid": GRID}
FAMILIES = {
    "RandAR": lambda: RandAR(RandARConfig(**SIZE)),
    "RAR": lambda: RAR(RARConfig(**SIZE, mlp_width=384)),
    "LPD": lambda: LPD(LPDConfig(**SIZE)),
    "ARPG": lambda: ARPG(ARPGConfig(**SIZE | {"layers": 4})),
}


@dataclass(frozen=True)
class Setting:
    """A run: `regions` of each picture besides its background (0: one class everywhere), and `known` of its cells."""

    pictures: int = 1
    steps: int = 6
    known: int = 0
    regions: int = 0
    guided: bool = True
    top_p: float = 1.0
    dtype: torch.dtype = torch.float32
    task: str = "fill"

    def options(self) -> DecodingOptions:
        guidance = Guidance(Linear(1.0, 4.0)) if self.guided else UNGUIDED
        if self.task == "extrapolate":
            guidance = replace(guidance, spatial=Linear(2.0, 2.0))
        return DecodingOptions(guidance, self.steps, 0, Sampling(top_p=self.top_p))

    def prompts(self) -> PromptBatch:
        masks = [torch.zeros(GRID, GRID) for _ in range(self.regions)]
        for index, mask in enumerate(masks):
            mask[index] = 1
        regions = tuple(Condition.of(index) for index in range(self.regions))
        item = Prompt(regions, tuple(masks), Condition.of(3)) if regions else Prompt((Condition.of(0),))
        return PromptBatch((item,) * self.pictures, torch.device(DEVICE))


SETTINGS = {
    "one picture": Setting(),
    "one token a call": Setting(steps=GRID**2, known=GRID**2 - 20),
    "five pictures": Setting(5),
    "no guidance": Setting(3, guided=False),
    "no guidance, most cells known": Setting(2, known=48, guided=False),
    "most cells known": Setting(2, known=48),
    "two regions": Setting(2, regions=1),
    "four regions, most cells known": Setting(2, known=48, regions=3),
    "four regions": Setting(3, regions=3),
    "top-p": Setting(2, top_p=0.9),
    "top-p, four regions": Setting(1, regions=3, top_p=0.9),
    "bfloat16": Setting(2, dtype=torch.bfloat16),
    "bfloat16, most cells known": Setting(2, known=48, dtype=torch.bfloat16),
    "scored": Setting(2, task="score"),
    "scored, no guidance": Setting(3, guided=False, task="score"),
    "scored, four regions": Setting(1, regions=3, task="score"),
    "scored, bfloat16": Setting(2, dtype=torch.bfloat16, task="score"),
    "extrapolate": Setting(2, task="extrapolate"),
    "extrapolate, two regions": Setting(1, regions=1, task="extrapolate"),
}
RUNS = [
    (family, name)
    for family in FAMILIES
    for name, setting in SETTINGS.items()
    if setting.task != "extrapolate" or family in ("RandAR", "ARPG")
]


def model_of(family: str, dtype: torch.dtype) -> nn.Module:
    model = FAMILIES[family]()
    tiny.randomise(model, deviation=0.05)
    return model.eval().requires_grad_(False).to(DEVICE, dtype)


def run(model: nn.Module, setting: Setting, canvas: Canvas) -> Tensor:
    prompts, options = setting.prompts(), setting.options()
    if setting.task == "score":
        return score_confidence(model, canvas, prompts, options)
    if setting.task == "extrapolate":
        return extrapolate(model, prompts, options, 2, ids=canvas.ids).ids
    return fill(model, canvas, prompts, options).ids


def stated_and_measured(gpu: FeignedGPU, model: nn.Module, setting: Setting) -> tuple[int, int]:
    with gpu:
        canvas = Canvas.empty(setting.pictures, GRID, GRID, DEVICE)
        canvas.known.flatten(1)[:, : setting.known] = True
        gpu.forget()
        before = gpu.live
        run(model, setting, canvas)
    cells, known = (4 * GRID**2, GRID**2) if setting.task == "extrapolate" else (GRID**2, setting.known)
    (group,) = setting.prompts().groups(setting.options().guidance, GRID, GRID)
    if setting.task == "score":
        return score_bytes(model, group, cells), gpu.peak - before
    return decode_bytes(model, setting.options(), group, cells, known, torch.device(DEVICE)), gpu.peak - before


@torch.no_grad()
def work() -> dict[str, dict]:
    torch.set_num_threads(1)
    install()
    gc.freeze()
    results = {}
    for family in FAMILIES:
        gpu = FeignedGPU()
        with gpu:
            models = {dtype: model_of(family, dtype) for dtype in (torch.float32, torch.bfloat16)}
        for name in (name for of, name in RUNS if of == family):
            setting = SETTINGS[name]
            results[f"{family}, {name}"] = outcome(stated_and_measured, gpu, models[setting.dtype], setting)
    return results


@pytest.mark.parametrize("family, name", RUNS)
def test_a_run_asks_for_what_it_takes(family, name):
    stated, measured = found_of(f"{family}, {name}", __file__)
    assert 0.85 * measured <= stated <= 1.15 * measured


if __name__ == "__main__":
    print_found(work())
