"""The decode loop over canvases of known and unknown cells: schedules, orders, randomness, guidance, callbacks."""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from randar_core.decoding.canvas import Canvas
from randar_core.decoding.conditions import PromptBatch
from randar_core.decoding.guidance import UNGUIDED, Guidance, Linear, PowerCosine
from randar_core.decoding.loop import decode, score
from randar_core.decoding.options import DecodingOptions
from randar_core.decoding.orders import known_first, random, raster
from randar_core.decoding.plan import make_plan
from randar_core.decoding.sampling import Sampling, confidence_of, probabilities, sample
from randar_core.decoding.schedule import call_sizes
from randar_core.decoding.seeding import draw_noise
from randar_core.models.randar import RandAR, RandARConfig

GRID = 4
CELLS = GRID * GRID
RISING = Guidance(Linear(1.0, 4.0))


@pytest.fixture(scope="module")
def model() -> RandAR:
    generator = torch.Generator().manual_seed(0)
    decoder = RandAR(RandARConfig(width=32, layers=2, heads=2, codebook_size=24, classes=5, grid=GRID)).eval()
    decoder.requires_grad_(False)
    for parameter in decoder.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.3 if parameter.ndim > 1 else 1))
    return decoder


def options(steps: int, seed: int = 0, guidance=RISING, order=None, **sampling) -> DecodingOptions:
    return DecodingOptions(guidance, steps, seed, Sampling(**sampling), order)


def cells_of(classes):
    return PromptBatch.of(torch.tensor(classes)).on_cells(GRID, GRID)


def run(model, canvas: Canvas, classes, settings: DecodingOptions, on_step=None):
    plan = make_plan(model, canvas.known, settings)
    return decode(model, canvas, plan, cells_of(classes), settings, on_step=on_step)


def partly_known(counts: list[int], seed: int = 0) -> Canvas:
    """A canvas whose picture b knows `counts[b]` cells, tokens and places at random."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 24, (len(counts), GRID, GRID), generator=generator)
    ranks = torch.rand(len(counts), CELLS, generator=generator).argsort(1).argsort(1)
    known = ranks < torch.tensor(counts)[:, None]
    return Canvas(ids, known.view(-1, GRID, GRID))


# The loop


@settings(max_examples=25, deadline=None)
@given(
    counts=st.lists(st.integers(0, CELLS), min_size=1, max_size=4),
    steps=st.integers(1, CELLS + 3),
    seed=st.integers(0, 2**64 - 1),
    order=st.sampled_from([random, raster]),
)
def test_known_cells_stay_and_all_others_are_drawn(model, counts, steps, seed, order):
    canvas = partly_known(counts)
    calls = []

    def on_step(now):
        calls.append(int(now.known.sum()))
        assert torch.equal(now.ids[canvas.known], canvas.ids[canvas.known])

    decoded = run(model, canvas, [1] * len(counts), options(steps, seed, order=order), on_step)
    assert decoded.known.all()
    assert torch.equal(decoded.ids[canvas.known], canvas.ids[canvas.known])
    assert (decoded.ids >= 0).all() and (decoded.ids < 24).all()
    assert calls == sorted(calls) and len(calls) == decoded.calls
    assert decoded.calls == sum(len(call_sizes(CELLS, steps, count)) for count in set(counts))


@settings(max_examples=10, deadline=None)
@given(counts=st.lists(st.integers(0, CELLS), min_size=2, max_size=4), seed=st.integers(0, 2**32))
def test_a_picture_depends_on_seed_and_index_but_not_on_its_batch(model, counts, seed):
    canvas = partly_known(counts)
    classes = list(range(len(counts)))
    together = run(model, canvas, classes, options(6, seed))
    for index in range(len(counts)):
        one = Canvas(canvas.ids[index : index + 1], canvas.known[index : index + 1])
        alone = run(model, one, [index], replace(options(6, seed), batch_index=[index]))
        assert torch.equal(alone.ids[0], together.ids[index])
        torch.testing.assert_close(alone.confidence[0], together.confidence[index])


def test_a_seed_gives_the_same_picture_again_and_another_seed_another(model):
    canvas = Canvas.empty(2, GRID, GRID)
    first, again, other = (run(model, canvas, [0, 0], options(6, seed)).ids for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


def test_any_whole_number_is_a_seed_of_its_own():
    noise = [draw_noise([seed], [0], 16) for seed in (-1, 0, 1, 2**63, 2**64 - 1, 2**64, 10**30)]
    assert len({tuple(row.flatten().tolist()) for row in noise}) == len(noise)


def test_decoding_leaves_the_global_random_state_alone(model):
    before = torch.get_rng_state()
    canvas = Canvas.empty(1, GRID, GRID)
    run(model, canvas, [0], options(6, 3))
    assert torch.equal(torch.get_rng_state(), before)


def test_one_token_a_call_gives_what_teacher_forcing_predicts(model):
    """The cache holds the clean interleave: forcing the drawn tokens yields the confidence that the loop reported."""
    canvas = partly_known([0, 0, 0])
    settings = options(CELLS, seed=5)
    plan, conditions = make_plan(model, canvas.known, settings), cells_of([0, 3, 4])
    decoded = decode(model, canvas, plan, conditions, settings)
    whole = Canvas(decoded.ids, decoded.known)
    torch.testing.assert_close(score(model, whole, plan.order, conditions, settings), decoded.confidence)


def test_the_cache_is_rewritten_after_parallel_calls(model):
    """The last call draws one token after many parallel ones; its confidence must be that of the clean sequence."""
    canvas = partly_known([0])
    settings = options(5, seed=1)
    plan = make_plan(model, canvas.known, settings)
    last = plan.order[0, -plan.sizes[0][-1]]
    decoded = decode(model, canvas, plan, cells_of([2]), settings)
    whole = Canvas(decoded.ids, decoded.known)
    scored = score(model, whole, plan.order, cells_of([2]), settings).flatten()[last]
    first_query = decoded.confidence.flatten()[last]
    # Guidance moves by call, not by cell: the first query of a call has the progress that scoring gives it.
    torch.testing.assert_close(first_query, scored)


def test_prefilled_cells_are_context_just_as_drawn_ones_are(model):
    canvas = Canvas.empty(1, GRID, GRID)
    settings = options(CELLS, seed=2, top_k=1)
    plan = make_plan(model, canvas.known, settings)
    whole = run(model, canvas, [1], settings)
    half_known = torch.zeros(1, CELLS, dtype=torch.bool)
    half_known[0, plan.order[0, : CELLS // 2]] = True
    half = Canvas(whole.ids, half_known.view(1, GRID, GRID))
    continued = run(model, half, [1], replace(settings, steps=999, order=plan.order))
    assert torch.equal(continued.ids, whole.ids)


def test_the_callback_can_stop_the_loop(model):
    canvas = Canvas.empty(1, GRID, GRID)
    decoded = run(model, canvas, [0], options(CELLS), lambda now: now.call < 3)
    assert decoded.call == 3 and decoded.stopped
    assert int(decoded.known.sum()) == 3
    assert (decoded.confidence[~decoded.known] == 0).all()


def test_a_full_canvas_needs_no_call(model):
    canvas = partly_known([CELLS])
    decoded = run(model, canvas, [0], options(8), lambda now: pytest.fail("a call was made"))
    assert decoded.calls == 0 and not decoded.stopped
    assert torch.equal(decoded.ids, canvas.ids)


def test_confidence_is_the_probability_at_temperature_one_before_any_filter(model):
    canvas = Canvas.empty(1, GRID, GRID)
    settings = options(CELLS, 4, UNGUIDED, raster, temperature=0.3, top_k=1)
    greedy = run(model, canvas, [0], settings)
    condition = model.class_embedding(torch.tensor([0]))
    logits = model(condition, greedy.ids.flatten(1), torch.arange(CELLS)[None])
    expected = logits.softmax(-1).gather(-1, greedy.ids.flatten(1)[..., None]).view(1, GRID, GRID)
    torch.testing.assert_close(greedy.confidence, expected)


def test_an_order_given_outright_is_followed(model):
    canvas = Canvas.empty(1, GRID, GRID)
    order = torch.arange(CELLS - 1, -1, -1)
    seen = []
    run(model, canvas, [0], options(999, order=order), lambda now: seen.append(now.known.clone()))
    assert seen[0].flatten().nonzero().flatten().tolist() == [CELLS - 1]
    assert seen[1].flatten().nonzero().flatten().tolist() == [CELLS - 2, CELLS - 1]


def test_known_cells_come_first_and_the_rest_keeps_its_order():
    known = torch.tensor([[False, True, False, True]])
    assert known_first(torch.tensor([[2, 3, 0, 1]]), known).tolist() == [[3, 1, 2, 0]]


@pytest.mark.parametrize("order", [torch.zeros(CELLS, dtype=torch.long), torch.arange(CELLS) + 1])
def test_an_order_that_is_not_a_permutation_is_refused(model, order):
    with pytest.raises(ValueError, match="picture 0 is not a permutation"):
        make_plan(model, Canvas.empty(1, GRID, GRID).known, options(4, order=order))


def test_an_order_of_another_length_is_refused(model):
    with pytest.raises(ValueError, match=r"\[1, 9\].*expected \[1, 16\]"):
        make_plan(model, Canvas.empty(1, GRID, GRID).known, options(4, order=torch.arange(9)))


def test_classes_and_ids_out_of_range_are_refused(model):
    canvas = Canvas.empty(1, GRID, GRID)
    with pytest.raises(ValueError, match="class ids lie in 9…9; this model knows 0…4"):
        run(model, canvas, [9], options(4))
    beyond = Canvas(torch.full((1, GRID, GRID), 24), torch.ones(1, GRID, GRID, dtype=torch.bool))
    with pytest.raises(ValueError, match="token ids lie in 24…24; this model knows 0…23"):
        run(model, beyond, [0], options(4))
    with pytest.raises(ValueError, match="1 pictures needs 1 conditions; found 2"):
        run(model, canvas, [0, 1], options(4))


@pytest.mark.parametrize("size", [(2, 8), (8, 2), (GRID, GRID + 1), (3, 3)])
def test_a_canvas_of_another_shape_than_the_trained_grid_is_refused(model, size):
    """The number of cells does not tell: 2×8 cells would be drawn as if they were 4 rows."""
    canvas = Canvas.empty(1, *size)
    plan = make_plan(model, canvas.known, options(4))
    message = f"{size[1]}×{size[0]} cells.*draws 4×4 at once"
    with pytest.raises(ValueError, match=message):
        decode(model, canvas, plan, cells_of([0]), options(4))
    with pytest.raises(ValueError, match=message):
        score(model, canvas, plan.order, cells_of([0]), options(4))


def test_logits_that_are_not_finite_are_told_in_words(model):
    broken = copy.deepcopy(model)
    broken.output.weight.fill_(float("nan"))
    canvas = Canvas.empty(2, GRID, GRID)
    with pytest.raises(ValueError, match="logits are not finite.*bfloat16 .bf16. or float32"):
        run(broken, canvas, [0, 1], options(4))


# Guidance


def test_a_weight_of_one_needs_one_row():
    assert len(Guidance(Linear(1, 1)).rule().rows) == 1
    assert len(Guidance(Linear(1, 2)).rule().rows) == 2
    assert len(Guidance(Linear(2, 1)).rule().rows) == 2


def test_guidance_interpolates_between_the_rows():
    conditional, null = torch.randn(2, 3, 7), torch.randn(2, 3, 7)
    rule = Guidance(Linear(1.0, 4.0)).rule()
    guided = rule.combine(torch.stack([conditional, null]), rule.weights([0.5] * 3, None))
    torch.testing.assert_close(guided, null + 2.5 * (conditional - null))


def test_spatial_guidance_adds_its_own_term():
    a, b, c = torch.randn(3, 2, 1, 7)
    rule = Guidance(Linear(3, 3), Linear(2.5, 2.5)).rule()
    guided = rule.combine(torch.stack([a, b, c]), rule.weights([0.2], None))
    torch.testing.assert_close(guided, c + 3 * (a - b) + 2.5 * (b - c))


def test_a_spatial_weight_of_one_is_class_guidance():
    assert Guidance(Linear(3, 3), Linear(1, 1)).rule() == Guidance(Linear(3, 3)).rule()
    # RAR's authors write no guidance as 0, which is not a schedule from 1 to 0.
    off = [Guidance(PowerCosine(scale, 2), Linear(2, 2)).rule().weights([0.0, 0.5, 1.0], None) for scale in (0, 1)]
    assert off[0].equal(off[1])


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_guidance_that_is_not_finite_is_refused(wrong):
    with pytest.raises(ValueError, match=f"from 1.0 to {wrong}"):
        Linear(1.0, wrong)
    with pytest.raises(ValueError, match=f"rises to {wrong}"):
        PowerCosine(wrong, 1.0)


@pytest.mark.parametrize("power", [-1.0, float("nan")])
def test_a_power_below_zero_is_refused(power):
    with pytest.raises(ValueError, match=f"power of guidance is {power}"):
        PowerCosine(4.0, power)


def test_power_cosine_ends_at_its_scale_and_is_constant_for_power_zero():
    assert PowerCosine(16.0, 2.75)(0.0) == 1.0
    assert PowerCosine(16.0, 2.75)(1.0) == 16.0
    assert PowerCosine(4.0, 0.0)(0.0) == 4.0


# Sampling


@given(seed=st.integers(0, 2**32), noise=st.floats(0, 1, exclude_max=True, width=32))
def test_a_draw_never_takes_a_token_without_probability(seed, noise):
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(seed)) * 4
    kept = probabilities(logits, Sampling(top_k=3))
    ids = sample(kept, torch.full((3,), noise))
    assert (kept.gather(-1, ids[:, None]) > 0).all()


def test_draws_follow_the_probabilities():
    wanted = torch.tensor([0.1, 0.0, 0.6, 0.3])
    ids = sample(wanted.expand(20000, -1), draw_noise([0], [0], 20000)[0])
    torch.testing.assert_close(torch.bincount(ids, minlength=4) / 20000, wanted, atol=0.02, rtol=0)


def test_confidence_is_a_softmax_probability():
    logits = torch.randn(2, 9)
    ids = torch.tensor([3, 8])
    torch.testing.assert_close(confidence_of(logits, ids), logits.softmax(-1)[torch.arange(2), ids])


@pytest.mark.parametrize(
    ("setting", "message"),
    [({"temperature": 0}, "temperature is 0"), ({"top_k": -1}, "top-k is -1"), ({"top_p": 0}, "top-p is 0")],
)
def test_sampling_out_of_range_is_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**setting)


def test_noise_of_a_picture_does_not_depend_on_the_others():
    assert torch.equal(draw_noise([5] * 3, [0, 7, 9], 16)[1], draw_noise([5], [7], 16)[0])
    assert not torch.equal(draw_noise([5], [7], 16, pass_index=1), draw_noise([5], [7], 16))


# The model


def test_a_head_that_can_not_be_rotated_is_refused():
    with pytest.raises(ValueError, match="can't have 3 heads"):
        RandAR(RandARConfig(width=64, layers=1, heads=3, codebook_size=8))


def test_the_state_is_as_large_as_it_says(model):
    condition = model.class_embedding(torch.zeros(3, dtype=torch.long))
    state = model.start(condition, torch.arange(CELLS).expand(3, -1))
    assert state.cache.data.nbytes + state.inputs.nbytes + state.rope.nbytes == model.state_bytes(3, CELLS, 4)
