"""Another program in the same process may change torch's default dtype or device: pictures stay the same."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from tiny_tasks import GRID, OPTIONS, SIZE, classes, picture, random_ids, randomised

from randar_core.decoding.canvas import Canvas
from randar_core.decoding.conditions import Condition, Prompt, PromptBatch
from randar_core.decoding.guidance import Guidance, Linear
from randar_core.decoding.orders import ORDERS, Painted
from randar_core.models.llamagen import LlamaGenConfig, LlamaGenTokenizer
from randar_core.models.rar import RAR, RARConfig
from randar_core.tasks.confidence import score_confidence
from randar_core.tasks.extrapolate import extrapolate
from randar_core.tasks.generate import generate
from randar_core.tasks.inpaint import inpaint
from randar_core.tasks.outpaint import outpaint
from randar_core.tasks.refine import refine


@contextmanager
def default_dtype(dtype: torch.dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(device: str):
    with torch.device(device):
        yield


@pytest.fixture(scope="module")
def tokenizer():
    sizes = {"channels": 8, "multipliers": (1, 2), "res_blocks": 1, "z_channels": 8, "norm_groups": 4}
    return randomised(LlamaGenTokenizer(LlamaGenConfig(**sizes, codebook_size=32, codebook_dim=4)), 0.3)


@pytest.fixture(scope="module")
def rar():
    return randomised(RAR(RARConfig(16, 2, 2, 32, 3, GRID, mlp_width=32)), 0.3)


def pictures(model, rar, tokenizer, inputs) -> list[torch.Tensor]:
    """Ids or pixels of every task; all of `inputs` were made before the defaults changed."""
    labels, ids, pixels, mask, painting, prompts = inputs
    spatial = replace(OPTIONS, guidance=Guidance(Linear(1, 3), Linear(1, 2)))
    return [
        *(generate(model, labels, replace(OPTIONS, order=order)).ids for order in ORDERS.values()),
        generate(model, labels, replace(OPTIONS, order=Painted(painting)), GRID + 1, GRID + 3).ids,
        generate(model, prompts, OPTIONS).ids,
        generate(rar, labels, OPTIONS).ids,
        extrapolate(model, labels, spatial, 2).ids,
        refine(model, ids, labels, OPTIONS, share=0.5).ids,
        score_confidence(model, Canvas(ids, ids < 0), labels, OPTIONS),
        inpaint(model, tokenizer, pixels, mask, labels, OPTIONS, denoise=0.7, grow=1).pixels,
        outpaint(model, tokenizer, pixels, labels, OPTIONS, left=3, bottom=2).pixels,
    ]


@pytest.fixture(scope="module")
def inputs():
    mask = torch.zeros(2, SIZE, SIZE)
    mask[:, 2:6, 3:5] = 1
    half = torch.zeros(4, 4)
    half[:, 2:] = 1
    mixed = Prompt((Condition((0, 1), (1, 2)), Condition.of(2)), (half, 1 - half), negative=Condition.of(1))
    prompts = PromptBatch((mixed, Prompt((Condition.of(1),))))
    return classes(2), random_ids(2, GRID, GRID), picture(2, 3, SIZE, SIZE), mask, picture(9, 9), prompts


@pytest.fixture(scope="module")
def expected(model, rar, tokenizer, inputs):
    return pictures(model, rar, tokenizer, inputs)


@pytest.mark.parametrize(
    "default",
    [lambda: default_dtype(torch.float64), lambda: default_dtype(torch.bfloat16), lambda: default_device("meta")],
    ids=["float64", "bfloat16", "meta"],
)
def test_another_default_dtype_or_device_changes_no_picture(model, rar, tokenizer, inputs, expected, default):
    with default():
        found = pictures(model, rar, tokenizer, inputs)
    for one, other in zip(expected, found, strict=True):
        assert one.dtype == other.dtype and one.device == other.device
        assert torch.equal(one, other)
