"""RAR: one token a call through the one loop, and what depends on class and position alone computed once."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from randar_core.decoding.canvas import Canvas
from randar_core.decoding.conditions import PromptBatch
from randar_core.decoding.guidance import Guidance, PowerCosine
from randar_core.decoding.loop import decode, score
from randar_core.decoding.options import DecodingOptions
from randar_core.decoding.orders import ORDERS, random, raster
from randar_core.decoding.plan import make_plan
from randar_core.decoding.sampling import Sampling
from randar_core.models import rar
from randar_core.models.randar import RandAR
from randar_core.models.rar import RAR, RARConfig

GRID = 6  # more positions than one product of the modulation
CELLS = GRID * GRID
CONFIG = RARConfig(width=32, layers=2, heads=2, mlp_width=48, codebook_size=24, classes=5, grid=GRID)
GUIDANCE = Guidance(PowerCosine(8.0, 1.5))


def filled(network: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def model() -> RAR:
    return filled(RAR(CONFIG))


def options(seed: int = 0, guidance=GUIDANCE, order=raster, **sampling) -> DecodingOptions:
    return DecodingOptions(guidance, 999, seed, Sampling(**sampling), order)


def run(model, canvas: Canvas, classes, settings: DecodingOptions, on_step=None):
    cells = PromptBatch.of(torch.tensor(classes)).on_cells(GRID, GRID)
    return decode(model, canvas, make_plan(model, canvas.known, settings), cells, settings, on_step=on_step)


def condition(model, *classes: int) -> torch.Tensor:
    return model.class_embedding(torch.tensor(classes))


def random_tokens(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 24, (rows, CELLS), generator=torch.Generator().manual_seed(seed))


def random_orders(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(rows, CELLS, generator=torch.Generator().manual_seed(seed)).argsort(1)


# The sequence


@given(known=st.integers(0, CELLS - 1), then=st.integers(1, 5))
@settings(max_examples=6, deadline=None)
def test_cached_steps_give_what_teacher_forcing_gives(model, known, then):
    """Whatever is fed at once: `known` tokens with the first query, one a call, and `then` at once in between."""
    rows, order, tokens = condition(model, 1, 4, 5), random_orders(3), random_tokens(3)
    expected = model(rows, tokens, order)
    state, done = model.start(rows, order), 0
    for fresh in [known, then, *[1] * CELLS]:
        if done + fresh >= CELLS:
            break
        found = model.step(state, tokens[:, done : done + fresh], 1)
        done += fresh
        torch.testing.assert_close(found[:, 0], expected[:, done], rtol=1e-4, atol=1e-4)


def test_greedy_drawing_takes_the_best_token_of_the_teacher_forced_logits(model):
    canvas = Canvas.empty(2, GRID, GRID)
    settings = options(guidance=Guidance(PowerCosine(0.0, 1.0)), order=random, top_k=1)
    order = make_plan(model, canvas.known, settings).order
    along = run(model, canvas, [0, 3], settings).ids.flatten(1).gather(1, order)
    assert torch.equal(model(condition(model, 0, 3), along, order).argmax(-1), along)


def test_a_scored_picture_has_the_confidence_that_was_drawn_with(model):
    canvas = Canvas.empty(2, GRID, GRID)
    decoded = run(model, canvas, [0, 3], options())
    order, cells = make_plan(model, canvas.known, options()).order, PromptBatch.of(torch.tensor([0, 3]))
    scored = score(model, Canvas(decoded.ids, decoded.known), order, cells.on_cells(GRID, GRID), options())
    torch.testing.assert_close(scored, decoded.confidence, rtol=1e-4, atol=1e-5)


def test_a_row_sees_nothing_of_the_tokens_it_predicts(model):
    order, tokens = random_orders(1), random_tokens(1)
    other = tokens.clone()
    other[:, 20:] = (other[:, 20:] + 1) % 24
    one, two = (model(condition(model, 2), given, order) for given in (tokens, other))
    torch.testing.assert_close(one[:, :21], two[:, :21])
    assert (one[:, 21] - two[:, 21]).abs().max() > 1e-2


def test_a_token_knows_which_cell_comes_next(model):
    """Swapping the two cells after the first changes the logits that follow the first."""
    order, tokens = random_orders(1), random_tokens(1)
    swapped = order[:, [0, 2, 1, *range(3, CELLS)]]
    one, two = (model(condition(model, 2), tokens, given) for given in (order, swapped))
    torch.testing.assert_close(one[:, 0], two[:, 0])
    assert (one[:, 1] - two[:, 1]).abs().max() > 1e-2


def test_the_null_class_is_a_class_of_its_own(model):
    order, tokens = random_orders(1), random_tokens(1)
    seen = {model(condition(model, c), tokens, order).sum().item() for c in range(model.null_class + 1)}
    assert model.null_class == CONFIG.classes
    assert len(seen) == CONFIG.classes + 1


# The loop


def test_one_token_is_drawn_a_call_in_raster_order(model):
    canvas, seen = Canvas.empty(1, GRID, GRID), []
    assert ORDERS[RAR.traits.order] is raster and ORDERS[RandAR.traits.order] is random
    run(model, canvas, [0], options(), lambda now: seen.append(now.known.flatten().clone()))
    assert all(torch.equal(known.nonzero()[:, 0], torch.arange(call + 1)) for call, known in enumerate(seen))
    assert len(seen) == CELLS


@pytest.mark.parametrize("rows", [1, 4])
def test_raster_completion_keeps_the_upper_part_and_draws_the_rest(model, rows):
    whole = run(model, Canvas.empty(2, GRID, GRID), [1, 2], options())
    upper = torch.zeros(2, GRID, GRID, dtype=torch.bool)
    upper[:, :rows] = True
    canvas = Canvas(torch.where(upper, whole.ids, 0), upper)
    completed = run(model, canvas, [1, 2], options())
    assert completed.calls == (GRID - rows) * GRID
    assert torch.equal(completed.ids, whole.ids)  # the same seed goes on where the whole picture was
    other = run(model, canvas, [1, 2], options(seed=1))
    assert torch.equal(other.ids[upper], whole.ids[upper])
    assert not torch.equal(other.ids, whole.ids)


@settings(max_examples=4, deadline=None)
@given(counts=st.lists(st.integers(0, CELLS), min_size=2, max_size=3), seed=st.integers(0, 2**32))
def test_known_cells_anywhere_stay_and_a_picture_does_not_depend_on_its_batch(model, counts, seed):
    known = random_orders(len(counts), seed).argsort(1) < torch.tensor(counts)[:, None]
    canvas = Canvas(random_tokens(len(counts), seed).view(-1, GRID, GRID), known.view(-1, GRID, GRID))
    classes = list(range(len(counts)))
    settings = options(seed, order=random, top_k=3)
    together = run(model, canvas, classes, settings)
    assert torch.equal(together.ids[canvas.known], canvas.ids[canvas.known])
    assert together.calls == sum(CELLS - count for count in set(counts))
    for index in classes:
        one = Canvas(canvas.ids[index : index + 1], canvas.known[index : index + 1])
        alone = run(model, one, [index], dataclasses.replace(settings, batch_index=[index]))
        assert torch.equal(alone.ids[0], together.ids[index])


# What is computed once


def test_the_modulation_is_computed_once_for_every_class_and_position(model):
    seen = []
    hooks = [
        module.adaLN_modulation[1].register_forward_hook(lambda module, given, _: seen.append((module, given[0])))
        for module in [*model.blocks, model.adaln_before_head]
    ]
    canvas = Canvas.empty(3, GRID, GRID)
    run(model, canvas, [1, 1, 4], options())
    for hook in hooks:
        hook.remove()
    windows = 1 + -(-(CELLS - 1) // rar.MODULATED_AHEAD)  # the first call feeds two positions
    assert len(seen) == windows * len(hooks)
    for module in {module for module, _ in seen}:
        shapes = [given.shape for one, given in seen if one is module]
        assert {shape[0] for shape in shapes} == {3}  # two classes and the null class for six rows
        assert sum(shape[1] for shape in shapes) == 1 + CELLS


def test_a_decode_takes_the_memory_it_says(model):
    state = model.start(condition(model, 0, 1, 2), random_orders(3))
    held = [state.cache.data, state.modulation, state.signal, state.positions]
    assert sum(tensor.nbytes for tensor in held) == model.state_bytes(3, CELLS, 4)
    before = [tensor.data_ptr() for tensor in held]
    model.step(state, random_tokens(3)[:, :0], 1)
    for token in random_tokens(3).T[: CELLS - 1]:
        model.step(state, token[:, None], 1)
    assert [tensor.data_ptr() for tensor in held] == before


def test_rows_of_one_condition_share_their_modulation(model):
    order, row = random_orders(4), torch.tensor([0, 0, 0, 1])
    state = model.start(condition(model, 2, 5), order, row=row)
    assert len(state.modulation) == 2
    alone, tokens = model.start(condition(model, 2, 2, 2, 5), order), random_tokens(4)
    for fed in (tokens[:, :0], tokens[:, :1], tokens[:, 1:4]):
        torch.testing.assert_close(model.step(state, fed, 1), model.step(alone, fed, 1))
    forced = model(condition(model, 2, 5), tokens, order, row=row)
    torch.testing.assert_close(forced, model(condition(model, 2, 2, 2, 5), tokens, order))


def test_weights_in_half_precision_decode(model):
    half = RAR(CONFIG, dtype=torch.bfloat16).eval().requires_grad_(False)
    half.load_state_dict(model.state_dict())
    logits = half(condition(half, 1), random_tokens(1), random_orders(1))
    expected = model(condition(model, 1), random_tokens(1), random_orders(1))
    assert logits.dtype == torch.float32
    assert (logits - expected).norm() < 0.05 * expected.norm()


# What it can't do


def test_extrapolation_is_refused_in_words(model):
    with pytest.raises(ValueError, match="RAR can't extrapolate.*6 × 6 cells"):
        model.enlarged(2, 0)


def test_a_masked_context_hides_its_tokens(model):
    order, tokens = random_orders(1), random_tokens(1)
    mask = torch.ones(1, CELLS)
    mask[:, 3:9] = 0
    other = torch.where(mask.bool(), tokens, (tokens + 1) % 24)
    one, two = (model(condition(model, 2), given, order, mask) for given in (tokens, other))
    torch.testing.assert_close(one, two)
    state = model.start(condition(model, 2), order, mask)
    stepped = [model.step(state, tokens[:, done - 1 : done] if done else tokens[:, :0], 1) for done in range(CELLS)]
    torch.testing.assert_close(torch.cat(stepped, 1), one, rtol=1e-4, atol=1e-4)


def test_several_tokens_a_call_are_refused(model):
    with pytest.raises(ValueError, match="one token a call; 2 were asked for"):
        model.step(model.start(condition(model, 0), random_orders(1)), random_tokens(1)[:, :0], 2)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="can't have 3 heads"):
        RAR(RARConfig(width=32, layers=1, heads=3, mlp_width=8))


def test_a_canvas_of_as_many_cells_but_another_shape_is_refused(model):
    canvas = Canvas.empty(1, CELLS // 4, 4)
    with pytest.raises(ValueError, match="4×9 cells.*draws 6×6 at once"):
        run(model, canvas, [0], options())
