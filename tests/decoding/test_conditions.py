"""Conditions: mixtures of classes, regions of the canvas, and a negative class, through the one guidance rule."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_tasks import GRID, OPTIONS, classes, random_ids

from randar_core.decoding.canvas import Canvas
from randar_core.decoding.conditions import Condition, Prompt, PromptBatch, check_region, row_embeddings
from randar_core.decoding.guidance import UNGUIDED, Guidance, Linear
from randar_core.decoding.loop import grouped, score
from randar_core.tasks.confidence import score_confidence
from randar_core.tasks.extrapolate import extrapolate
from randar_core.tasks.fill import fill
from randar_core.tasks.generate import generate
from randar_core.tasks.refine import refine

ONE, TWO = Condition.of(0), Condition.of(1)
HALF = torch.zeros(GRID, GRID)
HALF[:, GRID // 2 :] = 1


def batch(*items: Prompt) -> PromptBatch:
    return PromptBatch(items)


def drawn(model, *items: Prompt, options=OPTIONS, **size) -> torch.Tensor:
    return generate(model, batch(*items), options, **size).ids


def blend(first: float, second: float) -> Condition:
    return Condition((0, 1), (first, second))


# Mixtures


def test_a_class_of_weight_one_is_that_class_bit_for_bit(model):
    embedding = row_embeddings(model, [Condition((2, 0), (1.0, 0.0)), None], torch.device("cpu"))
    assert torch.equal(embedding, model.class_embedding(torch.tensor([2, model.null_class])))


def test_a_blend_of_weight_zero_draws_the_ids_of_the_other_class(model):
    assert torch.equal(drawn(model, Prompt((blend(1, 0),))), generate(model, classes(1), OPTIONS).ids)


@given(weight=st.floats(0.01, 100), other=st.floats(0.01, 100))
@settings(max_examples=20, deadline=None)
def test_blending_a_class_with_itself_changes_nothing(weight, other):
    assert Condition((2, 2), (weight, other)) == Condition.of(2)
    assert Condition.blend([(Condition.of(2), weight), (Condition.of(2), other)]) == Condition.of(2)


@given(weights=st.permutations([0.2, 0.3, 1.5]))
def test_the_order_of_the_parts_changes_nothing(weights):
    by_class = dict(zip((0.2, 0.3, 1.5), (0, 1, 2), strict=True))
    parts = [(Condition.of(by_class[weight]), weight) for weight in weights]
    assert Condition.blend(parts) == Condition((0, 1, 2), (0.2, 0.3, 1.5))


def test_a_blend_lies_between_its_classes(model):
    embedding = row_embeddings(model, [blend(1, 3)], torch.device("cpu"))
    one, two = model.class_embedding(torch.tensor([0, 1]))
    torch.testing.assert_close(embedding[0], one / 4 + 3 * two / 4)
    assert len({tuple(drawn(model, Prompt((blend(1 - t, t),))).flatten().tolist()) for t in (0, 0.5, 1)}) == 3


@pytest.mark.parametrize(
    "weights, message",
    [((0.5, -0.1), "numbers of 0 or more"), ((0, 0), "at least one must be above 0"), ((1, float("nan")), "numbers")],
)
def test_weights_that_make_no_mixture_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        Condition((0, 1), weights)


# Negative conditions


def test_the_null_class_as_negative_changes_nothing(model):
    plain = generate(model, classes(1), OPTIONS).ids
    assert torch.equal(drawn(model, Prompt((ONE,), negative=None)), plain)


def test_a_negative_class_steers_away_from_it(model):
    """The logits are those of the rule, with the negative class in place of the null class."""
    ids, order = random_ids(1, GRID, GRID), torch.arange(GRID**2)[None]
    options = replace(OPTIONS, guidance=Guidance(Linear(3, 3)))
    cells = Prompt((ONE,), negative=TWO).on_cells(GRID, GRID)
    one, two = (model(model.class_embedding(torch.tensor([c])), ids.flatten(1), order) for c in (0, 1))
    expected = (two + 3 * (one - two)).softmax(-1).gather(-1, ids.flatten(1)[..., None])[..., 0]
    torch.testing.assert_close(score(model, Canvas(ids, ids >= 0), order, [cells], options).flatten(1), expected)


def test_a_negative_equal_to_the_class_is_drawn_without_guidance(model):
    same = drawn(model, Prompt((ONE,), negative=ONE))
    unguided = generate(model, classes(1), replace(OPTIONS, guidance=Guidance(Linear(1, 1)))).ids
    assert torch.equal(same, unguided)


# Regions


def test_one_region_everywhere_is_the_condition_without_a_region(model):
    everywhere = Prompt((ONE,), (torch.ones(7, 5),))
    assert torch.equal(drawn(model, everywhere), generate(model, classes(1), OPTIONS).ids)
    assert everywhere.on_cells(GRID, GRID).regions is None


@pytest.mark.parametrize("negative", [None, Condition.of(2)])
def test_two_regions_that_split_the_canvas_have_the_logits_of_their_own_condition(model, negative):
    ids, order = random_ids(1, GRID, GRID), torch.randperm(GRID**2, generator=torch.Generator().manual_seed(3))[None]
    whole = Canvas(ids, torch.ones_like(ids, dtype=torch.bool))
    split = Prompt((ONE, TWO), (HALF, 1 - HALF), negative=negative)
    both, right, left = (
        score(model, whole, order, [item.on_cells(GRID, GRID)], OPTIONS)
        for item in (split, Prompt((ONE,), negative=negative), Prompt((TWO,), negative=negative))
    )
    torch.testing.assert_close(both, torch.where(HALF > 0, right, left))


def test_cells_that_no_region_covers_belong_to_the_background_or_are_unconditional(model):
    ids, order = random_ids(1, GRID, GRID), torch.arange(GRID**2)[None]
    whole = Canvas(ids, torch.ones_like(ids, dtype=torch.bool))

    def scored(item: Prompt) -> torch.Tensor:
        return score(model, whole, order, [item.on_cells(GRID, GRID)], OPTIONS)

    alone = scored(Prompt((ONE,), (HALF,)))
    null = scored(Prompt((ONE,), (torch.zeros(GRID, GRID),)))
    torch.testing.assert_close(alone, torch.where(HALF > 0, scored(Prompt((ONE,))), null))
    with_background = scored(Prompt((ONE,), (HALF,), background=TWO))
    torch.testing.assert_close(with_background, scored(Prompt((ONE, TWO), (HALF, 1 - HALF))))


def test_regions_that_overlap_share():
    item = Prompt((ONE, TWO), (torch.ones(8, 8), HALF), background=Condition.of(2)).on_cells(GRID, GRID)
    assert item.conditions == (ONE, TWO)  # nothing is left for the background
    torch.testing.assert_close(item.regions[0], torch.where(HALF > 0, 0.5, 1.0))
    torch.testing.assert_close(item.regions.sum(0), torch.ones(GRID, GRID))


def test_a_cell_counts_by_the_mean_of_its_pixels():
    mask = torch.zeros(4 * GRID, 4 * GRID)
    mask[:4, :2] = 1
    region = Prompt((ONE,), (mask,)).on_cells(GRID, GRID).regions[0]
    assert region[0, 0] == 0.5 and region.sum() == 0.5


def test_regions_with_equal_conditions_are_one(model):
    split = Prompt((ONE, ONE), (HALF, 1 - HALF))
    assert split.on_cells(GRID, GRID).regions is None
    assert torch.equal(drawn(model, split), generate(model, classes(1), OPTIONS).ids)


def test_the_order_of_the_regions_changes_nothing(model):
    there, back = Prompt((ONE, TWO), (HALF, 1 - HALF)), Prompt((TWO, ONE), (1 - HALF, HALF))
    assert torch.equal(drawn(model, there), drawn(model, back))


def test_a_window_draws_the_rows_that_count_in_it_alone(model, monkeypatch):
    mask = torch.zeros(1, 3)
    mask[:, 0] = 1  # the first third of a panorama
    rows, start = [], type(model).start

    def counted(self, condition, order, context_mask=None, row=None):
        rows.append(len(order))
        return start(self, condition, order, context_mask, row)

    monkeypatch.setattr(type(model), "start", counted)
    generate(model, batch(Prompt((ONE,), (mask,), background=TWO)), OPTIONS, GRID, 3 * GRID, 0)
    assert sum(rows) == 3 * 2  # three windows, none of which lies across the border


# Every task, whatever the neighbours have


RICH = Prompt((ONE, blend(1, 2)), (HALF, 1 - HALF), negative=Condition.of(2))
PLAIN = Prompt((TWO,))


@pytest.mark.parametrize("task", ["generate", "fill", "canvas", "refine", "extrapolate"])
def test_a_picture_does_not_depend_on_how_many_conditions_its_neighbours_have(model, task):
    ids = random_ids(3, GRID, GRID)
    known = torch.rand(3, GRID, GRID, generator=torch.Generator().manual_seed(0)) < 0.4

    def run(items, index):
        options = replace(OPTIONS, batch_index=index)
        prompts = batch(*items)
        if task == "generate":
            return generate(model, prompts, options).ids
        if task == "fill":
            return fill(model, Canvas(ids[index], known[index]), prompts, options).ids
        if task == "canvas":
            return generate(model, prompts, options, GRID + 1, GRID + 3).ids
        if task == "refine":
            return refine(model, ids[index], prompts, options, share=0.5).ids
        return extrapolate(model, prompts, replace(options, guidance=Guidance(Linear(2, 2), Linear(1, 3))), 2).ids

    items = [PLAIN, RICH, PLAIN]
    together = run(items, [0, 1, 2])
    for index, item in enumerate(items):
        assert torch.equal(run([item], [index])[0], together[index])


def test_confidence_is_scored_under_the_conditions(model):
    canvas = Canvas(random_ids(2, GRID, GRID + 2), torch.zeros(2, GRID, GRID + 2, dtype=torch.bool))
    both = score_confidence(model, canvas, batch(RICH, PLAIN), OPTIONS)
    one = Canvas(canvas.ids[:1], canvas.known[:1])
    torch.testing.assert_close(score_confidence(model, one, batch(RICH), OPTIONS)[0], both[0])
    assert not torch.allclose(both[0], score_confidence(model, one, batch(PLAIN), OPTIONS)[0])


@pytest.mark.parametrize("conditions, rows", [(1, 2), (2, 3), (5, 6)])
def test_so_many_rows_are_drawn_as_there_are_conditions_and_one_more(conditions, rows):
    masks = tuple(torch.rand(3, 3) for _ in range(conditions)) if conditions > 1 else ()
    item = Prompt(tuple(Condition.of(c) for c in range(conditions)), masks)
    assert batch(item, PLAIN).rows(Guidance(Linear(1, 3))) == rows


def test_pictures_of_one_kind_are_drawn_together():
    many = batch(PLAIN, RICH, PLAIN)
    guidance = Guidance(Linear(1, 3))
    rows = [batch(item).rows(guidance) for item in (PLAIN, RICH)]
    groups = many.groups(guidance, GRID, GRID)
    assert [(group.pictures, group.rows) for group in groups] == [(2, rows[0]), (1, rows[1])]
    assert [group.conditions for group in batch(PLAIN, PLAIN).groups(guidance, GRID, GRID)] == [2]
    # A window may see one class alone, and is then drawn with those of the plain pictures.
    parts = many.groups(guidance, GRID, GRID, parts=True)
    assert [(group.pictures, group.rows) for group in parts] == [(3, rows[0]), (1, rows[1])]


@given(st.lists(st.sampled_from(range(4)), min_size=1, max_size=6), st.booleans())
def test_the_groups_are_those_of_the_decoding(kinds, guided):
    everywhere = Prompt((Condition.of(1),), (torch.ones(2, 2),))
    nowhere = Prompt((Condition.of(0), Condition.of(1)), (torch.ones(4, 4), torch.zeros(4, 4) + 1e-9))
    prompts = batch(*((PLAIN, RICH, everywhere, nowhere)[kind] for kind in kinds))
    guidance = Guidance(Linear(1, 3)) if guided else UNGUIDED
    decoded = grouped([each.kind for each in prompts.on_cells(GRID, GRID)], None)
    assert [group.pictures for group in prompts.groups(guidance, GRID, GRID)] == [len(group) for group in decoded]


# What is refused


@pytest.mark.parametrize(
    "mask, message",
    [
        (torch.zeros(4, 4), "covers nothing"),
        (torch.full((4, 4), 2.0), "outside 0…1"),
        (torch.full((4, 4), float("nan")), "not numbers"),
        (torch.ones(1, 4, 4), r"\[height, width\]"),
    ],
)
def test_a_mask_that_is_not_a_region_is_refused(mask, message):
    with pytest.raises(ValueError, match=message):
        check_region(mask)


def test_conditions_that_do_not_match_are_refused(model):
    with pytest.raises(ValueError, match="2 conditions need as many masks; got 1"):
        Prompt((ONE, TWO), (HALF,))
    with pytest.raises(ValueError, match="at least one class"):
        Prompt(())
    with pytest.raises(ValueError, match="class ids lie in 0…7; this model knows 0…2"):
        drawn(model, Prompt((Condition((7, 0), (1, 1)),)))
    with pytest.raises(ValueError, match="class ids lie in 0…7"):
        drawn(model, Prompt((ONE,), negative=Condition.of(7)))
