"""ARPG: a content stack, queries that only cross-attend, and how the loop draws with them."""

from dataclasses import replace
from itertools import accumulate

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from randar_core.decoding.canvas import Canvas
from randar_core.decoding.conditions import PromptBatch
from randar_core.decoding.guidance import UNGUIDED, Guidance, Linear
from randar_core.decoding.loop import DecodeProgress, decode
from randar_core.decoding.options import DecodingOptions
from randar_core.decoding.orders import raster
from randar_core.decoding.plan import make_plan
from randar_core.decoding.sampling import Sampling
from randar_core.decoding.schedule import call_sizes
from randar_core.models.arpg import ARPG, ARPGConfig

GRID, CODES, CLASSES = 6, 24, 5
CELLS = GRID * GRID
CONFIG = ARPGConfig(width=32, layers=4, heads=2, codebook_size=CODES, classes=CLASSES, grid=GRID)

shared = settings(max_examples=8, deadline=None)


def filled(network: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def model() -> ARPG:
    return filled(ARPG(CONFIG))


def random_tokens(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, CODES, (rows, CELLS), generator=torch.Generator().manual_seed(seed))


def random_orders(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(rows, CELLS, generator=torch.Generator().manual_seed(seed)).argsort(1)


def assert_close(found: torch.Tensor, expected: torch.Tensor):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


# The calls


@given(known=st.integers(0, CELLS - 1), seed=st.integers(0, 2**32))
@shared
def test_known_tokens_are_fed_as_in_training(model, known, seed):
    """Known tokens at once, then one a call: all logits are the teacher-forced ones."""
    condition = model.class_embedding(torch.tensor([1, 4, CLASSES]))
    order, tokens = random_orders(3, seed), random_tokens(3, seed)
    expected = model(condition, tokens, order)
    state = model.start(condition, order)
    for done in range(known, CELLS):
        fed = tokens[:, :done] if done == known else tokens[:, done - 1 : done]
        assert_close(model.step(state, fed, 1)[:, 0], expected[:, done])


@given(known=st.integers(0, CELLS - 2), data=st.data())
@shared
def test_queries_of_one_call_do_not_see_each_other(model, known, data):
    condition, order, tokens = model.class_embedding(torch.tensor([2])), random_orders(1), random_tokens(1)
    queries = data.draw(st.integers(2, CELLS - known))
    other = data.draw(st.integers(1, queries - 1))
    together = model.step(model.start(condition, order), tokens[:, :known], queries)
    order = order.clone()
    order[:, [known, known + other]] = order[:, [known + other, known]]
    alone = model.step(model.start(condition, order), tokens[:, :known], 1)
    assert_close(together[:, other], alone[:, 0])


def test_tokens_of_a_later_call_see_each_other_whatever_their_order(model):
    condition, order, tokens = model.class_embedding(torch.tensor([2])), random_orders(1), random_tokens(1)
    swapped = [1, 0, *range(2, CELLS)]

    def after(known: int, order: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        state = model.start(condition, order)
        if known == 0:
            model.step(state, tokens[:, :0], 2)
        return model.step(state, tokens[:, :2], 4)

    assert_close(after(0, order, tokens), after(0, order[:, swapped], tokens[:, swapped]))
    assert (after(0, order, tokens) - after(2, order, tokens)).abs().max() > 1e-2
    assert (after(2, order, tokens) - after(2, order[:, swapped], tokens[:, swapped])).abs().max() > 1e-2


def test_a_query_knows_its_cell(model):
    condition, order = model.class_embedding(torch.tensor([2])), random_orders(1)
    logits = model.step(model.start(condition, order), random_tokens(1)[:, :3], CELLS - 3)[0]
    assert len(logits.unique(dim=0)) == CELLS - 3


def test_every_class_and_the_null_class_has_an_embedding_of_its_own(model):
    embedded = model.class_embedding(torch.arange(model.null_class + 1))
    assert model.null_class == CLASSES
    assert len(embedded.unique(dim=0)) == CLASSES + 1
    assert not torch.isin(embedded, model.embeddings(torch.arange(CODES + 1))).any()


def test_a_masked_token_is_fed_as_zeros(model):
    condition, order, tokens = model.class_embedding(torch.tensor([2, 3])), random_orders(2), random_tokens(2)
    mask = torch.ones(2, CELLS)
    mask[:, [1, 4]] = 0
    changed = tokens.clone()
    changed[:, [1, 4]] = (changed[:, [1, 4]] + 1) % CODES
    expected = model(condition, tokens, order, mask)
    assert_close(model(condition, changed, order, mask), expected)
    assert (model(condition, tokens, order) - expected)[:, 2:].abs().max() > 1e-2
    state = model.start(condition, order, mask)
    assert_close(model.step(state, changed[:, :2], 1)[:, 0], expected[:, 2])
    for done in range(3, 7):
        assert_close(model.step(state, changed[:, done - 1 : done], 1)[:, 0], expected[:, done])


# Another grid


def test_an_enlarged_model_shares_the_weights_and_leaves_the_model_as_it_is(model):
    large = model.enlarged(2, 2)
    assert (large.config.grid, model.config.grid) == (2 * GRID, GRID)
    assert large.rope_table.shape[0] == 1 + 4 * CELLS and model.rope_table.shape[0] == 1 + CELLS
    assert all(large.get_parameter(name) is parameter for name, parameter in model.named_parameters())
    order = torch.arange(4 * CELLS)[None]
    logits = large.step(large.start(large.class_embedding(torch.tensor([1])), order), order[:, :0], 4 * CELLS)
    assert logits.shape == (1, 4 * CELLS, CODES) and logits.isfinite().all()


# Size and precision


def test_the_state_takes_the_memory_it_says_and_is_allocated_once(model):
    condition = model.class_embedding(torch.arange(3))
    state = model.start(condition, random_orders(3))
    held = [state.condition, state.rope, state.cache.data]
    assert sum(tensor.nbytes for tensor in held) == model.state_bytes(3, CELLS, 4)
    before = [tensor.data_ptr() for tensor in held]
    tokens = random_tokens(3)
    model.step(state, tokens[:, :0], 1)
    for token in tokens.T[: CELLS - 1]:
        model.step(state, token[:, None], 1)
    assert [tensor.data_ptr() for tensor in (state.condition, state.rope, state.cache.data)] == before


def test_weights_in_half_precision_decode(model):
    half = ARPG(CONFIG, dtype=torch.bfloat16).eval().requires_grad_(False)
    half.load_state_dict(model.state_dict())
    classes, order, tokens = torch.tensor([1]), random_orders(1), random_tokens(1)
    logits = half(half.class_embedding(classes), tokens, order)
    expected = model(model.class_embedding(classes), tokens, order)
    assert logits.dtype == torch.float32
    assert (logits - expected).norm() < 0.05 * expected.norm()


def test_sizes_that_make_no_transformer_are_refused_in_words():
    with pytest.raises(ValueError, match="can't have 3 heads.*a multiple of 4"):
        ARPG(ARPGConfig(width=32, layers=2, heads=3, codebook_size=8))
    with pytest.raises(ValueError, match="can't have 3 layers.*even number"):
        ARPG(ARPGConfig(width=32, layers=3, heads=2, codebook_size=8))


# The loop


def decode_options(steps: int = 5, seed: int = 0, guidance: Guidance | None = None, **changes) -> DecodingOptions:
    return DecodingOptions(guidance or Guidance(Linear(1.0, 4.0)), steps, seed, **changes)


def drawn(model: ARPG, canvas: Canvas, classes: list[int], options: DecodingOptions) -> DecodeProgress:
    conditions = PromptBatch.of(torch.tensor(classes)).on_cells(GRID, GRID)
    return decode(model, canvas, make_plan(model, canvas.known, options), conditions, options)


def test_its_own_order_schedule_and_guidance_are_taken_unless_others_are_asked_for(model):
    calls = []
    canvas, options = Canvas.empty(1, GRID, GRID), decode_options(steps=5)
    conditions = PromptBatch.of(torch.tensor([0])).on_cells(GRID, GRID)
    plan = make_plan(model, canvas.known, options)
    decode(model, canvas, plan, conditions, options, on_step=lambda now: calls.append(int(now.known.sum())))
    assert calls == list(accumulate(call_sizes(CELLS, 5, schedule="arccos")))
    assert not torch.equal(plan.order[0], torch.arange(CELLS))
    other = make_plan(model, canvas.known, decode_options(steps=5, schedule="cosine", order=raster))
    assert list(other.sizes[0]) == call_sizes(CELLS, 5, schedule="cosine")
    assert torch.equal(other.order[0], torch.arange(CELLS))


def test_the_weight_of_guidance_counts_the_tokens_of_its_own_call(model):
    """With every token in one call, a weight that rises from 1 is at its end there."""
    canvas = Canvas.empty(1, GRID, GRID)
    rising = drawn(model, canvas, [1], decode_options(steps=1, guidance=Guidance(Linear(1.0, 4.0))))
    constant = drawn(model, canvas, [1], decode_options(steps=1, guidance=Guidance(Linear(4.0, 4.0))))
    assert rising.calls == 1
    assert torch.equal(rising.ids, constant.ids) and torch.equal(rising.confidence, constant.confidence)


@pytest.mark.parametrize("steps", [CELLS, CELLS + 1, 10 * CELLS])
def test_more_steps_than_cells_draw_one_cell_a_call(model, steps):
    decoded = drawn(model, Canvas.empty(1, GRID, GRID), [3], decode_options(steps=steps))
    assert decoded.calls == CELLS and decoded.known.all()


@given(counts=st.lists(st.integers(0, CELLS), min_size=2, max_size=3), seed=st.integers(0, 2**32))
@shared
def test_known_cells_stay_and_a_picture_does_not_depend_on_its_batch(model, counts, seed):
    known = random_orders(len(counts), seed).argsort(1) < torch.tensor(counts)[:, None]
    canvas = Canvas(random_tokens(len(counts), seed).view(-1, GRID, GRID), known.view(-1, GRID, GRID))
    classes = list(range(len(counts)))
    options = decode_options(seed=seed, sampling=Sampling(top_k=3))
    together = drawn(model, canvas, classes, options)
    assert torch.equal(together.ids[canvas.known], canvas.ids[canvas.known])
    for index in classes:
        one = Canvas(canvas.ids[index : index + 1], canvas.known[index : index + 1])
        alone = drawn(model, one, [index], replace(options, batch_index=[index]))
        assert torch.equal(alone.ids[0], together.ids[index])


def test_greedy_calls_of_one_token_take_the_best_of_the_teacher_forced_logits(model):
    canvas, options = Canvas.empty(2, GRID, GRID), decode_options(CELLS, guidance=UNGUIDED, sampling=Sampling(top_k=1))
    decoded = drawn(model, canvas, [0, 3], options)
    order = make_plan(model, canvas.known, options).order
    along = decoded.ids.flatten(1).gather(1, order)
    logits = model(model.class_embedding(torch.tensor([0, 3])), along, order)
    assert torch.equal(logits.argmax(-1), along)


def test_a_top_p_so_low_that_one_token_is_left_draws_greedily(model):
    canvas = Canvas.empty(2, GRID, GRID)
    by_share = drawn(model, canvas, [0, 3], decode_options(sampling=Sampling(top_p=1e-6)))
    best = drawn(model, canvas, [0, 3], decode_options(sampling=Sampling(top_k=1)))
    assert torch.equal(by_share.ids, best.ids)
    some = drawn(model, canvas, [0, 3], decode_options(sampling=Sampling(top_p=0.6)))
    assert some.known.all() and not torch.equal(some.ids, best.ids)
