"""ARPG through every task: no task knows the family."""

import pytest
import torch

from randar_core.decoding.canvas import Canvas
from randar_core.decoding.guidance import Guidance, Linear
from randar_core.decoding.options import DecodingOptions
from randar_core.models.arpg import ARPG, ARPGConfig
from randar_core.models.llamagen import LlamaGenConfig, LlamaGenTokenizer
from randar_core.tasks.confidence import remask_least_confident, score_confidence
from randar_core.tasks.extrapolate import extrapolate
from randar_core.tasks.fill import fill
from randar_core.tasks.generate import generate
from randar_core.tasks.inpaint import inpaint
from randar_core.tasks.outpaint import outpaint
from randar_core.tasks.refine import refine

GRID, CODES = 4, 16
CLASSES = torch.tensor([0, 2])
OPTIONS = DecodingOptions(Guidance(Linear(1.0, 3.0)), steps=5, seed=0)


def filled(network: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def model() -> ARPG:
    return filled(ARPG(ARPGConfig(width=32, layers=4, heads=2, codebook_size=CODES, classes=3, grid=GRID)))


@pytest.fixture(scope="module")
def tokenizer() -> LlamaGenTokenizer:
    return filled(LlamaGenTokenizer(LlamaGenConfig(8, (1, 1), 1, CODES, 4, 8, 4)))


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.rand(2, 3, 2 * GRID, 2 * GRID, generator=torch.Generator().manual_seed(1))


def test_generate(model):
    decoded = generate(model, CLASSES, OPTIONS)
    assert decoded.ids.shape == (2, GRID, GRID) and decoded.known.all()
    assert torch.equal(decoded.ids, generate(model, CLASSES, OPTIONS).ids)


@pytest.mark.parametrize(("height", "width"), [(GRID, 3 * GRID), (7, 5), (3, 2)])
def test_a_canvas_of_any_size(model, height, width):
    decoded = generate(model, CLASSES, OPTIONS, height, width)
    assert decoded.ids.shape == (2, height, width) and decoded.known.all()


def test_fill_keeps_what_is_known(model):
    known = torch.zeros(2, GRID, 2 * GRID, dtype=torch.bool)
    known[0, :2], known[1, :, 3:6] = True, True
    ids = torch.randint(0, CODES, known.shape, generator=torch.Generator().manual_seed(2))
    decoded = fill(model, Canvas(ids, known), CLASSES, OPTIONS)
    assert torch.equal(decoded.ids[known], ids[known]) and decoded.known.all()


def test_inpaint_keeps_what_is_not_masked(model, tokenizer, pictures):
    mask = torch.zeros(2, 2 * GRID, 2 * GRID)
    mask[:, 2:4, 2:6] = 1
    result = inpaint(model, tokenizer, pictures, mask, CLASSES, OPTIONS, seam=0)
    outside = (mask == 0).unsqueeze(1).expand_as(pictures)
    assert torch.equal(result.pixels[outside], pictures[outside])
    assert not torch.equal(result.pixels, pictures)


def test_outpaint_extends_the_picture(model, tokenizer, pictures):
    result = outpaint(model, tokenizer, pictures, CLASSES, OPTIONS, right=GRID, bottom=2, seam=0)
    assert result.pixels.shape == (2, 3, 2 * GRID + 2, 3 * GRID)
    assert torch.equal(result.pixels[:, :, : 2 * GRID, : 2 * GRID], pictures)


def test_extrapolate_draws_a_larger_grid(model):
    decoded = extrapolate(model, CLASSES, OPTIONS, 2)
    assert decoded.ids.shape == (2, 2 * GRID, 2 * GRID) and decoded.known.all()
    spatial = DecodingOptions(Guidance(Linear(3.0, 3.0), Linear(2.5, 2.5)), steps=5, seed=0)
    low = generate(model, CLASSES, OPTIONS).ids
    decoded = extrapolate(model, CLASSES, spatial, 2, ids=low)
    assert torch.equal(decoded.ids[:, ::2, ::2], low)


def test_refine_redraws_the_least_confident_tokens(model):
    ids = torch.randint(0, CODES, (2, GRID, GRID), generator=torch.Generator().manual_seed(3))
    picture = Canvas(ids, torch.zeros_like(ids, dtype=torch.bool))
    confidence = score_confidence(model, picture, CLASSES, OPTIONS)
    assert confidence.shape == ids.shape and (confidence > 0).all() and (confidence <= 1).all()
    known = remask_least_confident(picture, confidence, share=0.25).known
    refined = refine(model, ids, CLASSES, OPTIONS, share=0.25, confidence=confidence)
    assert torch.equal(refined.ids[known], ids[known])
    assert not torch.equal(refined.ids, ids)
