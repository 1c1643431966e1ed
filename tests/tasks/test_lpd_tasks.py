"""Every task with LPD: groups of its own sizes in its own order, wherever the known cells lie."""

from itertools import accumulate

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from randar_core.decoding.canvas import Canvas
from randar_core.decoding.conditions import PromptBatch
from randar_core.decoding.guidance import Guidance, Linear
from randar_core.decoding.loop import decode, score
from randar_core.decoding.options import DecodingOptions
from randar_core.decoding.plan import make_plan
from randar_core.decoding.sampling import Sampling
from randar_core.decoding.schedule import call_sizes
from randar_core.models.llamagen import LlamaGenConfig, LlamaGenTokenizer
from randar_core.models.lpd import LPD, LPDConfig
from randar_core.tasks.confidence import score_confidence
from randar_core.tasks.extrapolate import extrapolate
from randar_core.tasks.fill import fill
from randar_core.tasks.generate import generate
from randar_core.tasks.inpaint import inpaint
from randar_core.tasks.outpaint import outpaint
from randar_core.tasks.refine import refine

GRID, CODES = 8, 24
CELLS = GRID * GRID
OPTIONS = DecodingOptions(Guidance(Linear(1.0, 4.0)), 8, 0)


def with_random_weights(network: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3 if parameter.ndim > 1 else 1.0, generator=generator)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def model() -> LPD:
    return with_random_weights(LPD(LPDConfig(32, 2, 2, CODES, classes=5, grid=GRID)))


@pytest.fixture(scope="module")
def tokenizer() -> LlamaGenTokenizer:
    return with_random_weights(LlamaGenTokenizer(LlamaGenConfig(8, (1, 2), 1, CODES, 4, 8, 4)))


def canvas_with(counts: list[int], seed: int = 0, side: int = GRID) -> Canvas:
    """A canvas whose picture b knows `counts[b]` cells at random."""
    generator = torch.Generator().manual_seed(seed)
    known = torch.rand(len(counts), side**2, generator=generator).argsort(1).argsort(1) < torch.tensor(counts)[:, None]
    ids = torch.randint(0, CODES, known.shape, generator=generator) * known
    return Canvas(ids.view(-1, side, side), known.view(-1, side, side))


def test_a_picture_is_drawn_in_the_groups_of_the_family(model):
    seen = []
    generate(model, torch.tensor([1]), OPTIONS, on_step=lambda now: seen.append(int(now.known.sum())))
    assert seen == list(accumulate(call_sizes(CELLS, 8, schedule="lpd")))


@given(counts=st.lists(st.integers(0, CELLS), min_size=2, max_size=3), seed=st.integers(0, 2**32))
@settings(max_examples=8, deadline=None)
def test_known_cells_stay_and_a_picture_does_not_depend_on_its_batch(model, counts, seed):
    canvas, classes = canvas_with(counts, seed), torch.arange(len(counts))
    options = DecodingOptions(OPTIONS.guidance, 8, seed, Sampling(top_k=4))
    together = fill(model, canvas, classes, options)
    assert torch.equal(together.ids[canvas.known], canvas.ids[canvas.known])
    assert together.known.all()
    for i in range(len(counts)):
        one = Canvas(canvas.ids[i : i + 1], canvas.known[i : i + 1])
        alone = fill(
            model,
            one,
            classes[i : i + 1],
            DecodingOptions(OPTIONS.guidance, 8, seed, Sampling(top_k=4), batch_index=[i]),
        )
        assert torch.equal(alone.ids[0], together.ids[i])


def test_guidance_grows_from_token_to_token(model):
    """Under a weight of 1 at the first token and 9 at the last, a greedy draw is that of the guided logits."""
    options = DecodingOptions(Guidance(Linear(1.0, 9.0)), 3, 0, Sampling(top_k=1))
    canvas = canvas_with([20])
    plan = make_plan(model, canvas.known, options)
    drawn = decode(model, canvas, plan, PromptBatch.of(torch.tensor([2])).on_cells(GRID, GRID), options).ids.flatten(1)
    order = plan.order
    rows = model.class_embedding(torch.tensor([2, model.null_class]))
    state, along = model.start(rows, order.repeat(2, 1)), drawn.gather(1, order)
    done, fed = 20, 0
    for size in plan.sizes[0]:
        condition, null = model.step(state, along[:, fed:done].repeat(2, 1), size).chunk(2)
        weight = 1 + 8 * torch.arange(done, done + size)[:, None] / CELLS
        assert torch.equal((null + weight * (condition - null)).argmax(-1), along[:, done : done + size])
        fed, done = done, done + size


def test_a_picture_drawn_token_by_token_scores_the_confidence_it_was_drawn_with(model):
    options = DecodingOptions(OPTIONS.guidance, CELLS, 0)
    conditions = PromptBatch.of(torch.tensor([1, 3])).on_cells(GRID, GRID)
    canvas = Canvas.empty(2, GRID, GRID)
    plan = make_plan(model, canvas.known, options)
    drawn = decode(model, canvas, plan, conditions, options)
    scored = score(model, Canvas(drawn.ids, drawn.known), plan.order, conditions, options)
    torch.testing.assert_close(scored, drawn.confidence, rtol=1e-4, atol=1e-5)


def test_a_canvas_of_another_size_is_drawn_by_windows_of_the_own_grid(model, monkeypatch):
    seen = []
    start = LPD.start
    monkeypatch.setattr(
        LPD,
        "start",
        lambda self, condition, order, **more: seen.append(order.shape[1]) or start(self, condition, order, **more),
    )
    wide = generate(model, torch.tensor([1]), OPTIONS, height=GRID, width=2 * GRID + 3)
    assert wide.known.all() and wide.ids.shape == (1, GRID, 2 * GRID + 3)
    assert set(seen) == {CELLS} and len(seen) > 2


def test_confidence_of_a_canvas_and_refining_of_its_least_certain_cells(model):
    drawn = generate(model, torch.tensor([0, 4]), OPTIONS)
    confidence = score_confidence(model, Canvas(drawn.ids, drawn.known), torch.tensor([0, 4]), OPTIONS)
    assert confidence.shape == (2, GRID, GRID) and ((0 < confidence) & (confidence <= 1)).all()
    refined = refine(model, drawn.ids, torch.tensor([0, 4]), OPTIONS, share=0.25)
    changed = refined.ids != drawn.ids
    assert 0 < int(changed.sum()) <= 2 * CELLS // 4


def test_a_masked_region_of_a_large_picture_is_inpainted_in_a_square_of_the_own_size(model, tokenizer):
    side = GRID * tokenizer.factor
    pixels = torch.rand(1, 3, 2 * side, 3 * side, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 2 * side, 3 * side)
    mask[:, 4:9, 20:26] = 1
    result = inpaint(model, tokenizer, pixels, mask, torch.tensor([2]), OPTIONS)
    assert [crop.side for crop in result.crops] == [side]
    far = torch.ones(2 * side, 3 * side, dtype=torch.bool)
    crop = result.crops[0]
    far[crop.top : crop.top + crop.side, crop.left : crop.left + crop.side] = False
    assert torch.equal(result.pixels[0][:, far], pixels[0][:, far])
    assert not torch.equal(result.pixels[0][:, 4:9, 20:26], pixels[0][:, 4:9, 20:26])


def test_a_picture_grows_on_all_sides(model, tokenizer):
    side = GRID * tokenizer.factor
    pixels = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    result = outpaint(model, tokenizer, pixels, torch.tensor([2]), OPTIONS, left=8, right=5, bottom=4, seam=0)
    assert result.pixels.shape == (1, 3, side + 4, side + 13)
    assert torch.equal(result.pixels[:, :, :side, 8 : 8 + side], pixels)


def test_extrapolation_is_refused_in_words(model):
    with pytest.raises(ValueError, match="LPD can't extrapolate"):
        extrapolate(model, torch.tensor([0]), OPTIONS, 2)
