"""Blends, regions, sweeps and a negative class."""

import pytest
import torch


@pytest.fixture
def named(pack):
    """The class socket for names of the tiny model's classes."""
    return lambda *names: pack.run("RandARClassList", class_list=", ".join(names))[0]


@pytest.fixture
def blend(pack):
    return lambda first, second, weight: pack.run("RandARClassBlend", first=first, second=second, weight=weight)[0]


@pytest.fixture
def region(pack):
    return lambda classes, mask, **more: pack.run("RandARClassRegion", classes=classes, mask=mask, **more)[0]


@pytest.fixture
def drawn(pack, model):
    """Ids `[B, h, w]` that the sampler draws."""

    def drawn(classes, **inputs):
        inputs = {"model": model, "seed": 1, "steps": 4, "cfg": 3.0} | inputs
        return model.vae.ids(pack.run("RandARSampler", classes=classes, **inputs)[0]["samples"])

    return drawn


def left_half(height=16, width=16):
    mask = torch.zeros(1, height, width)
    mask[..., : width // 2] = 1
    return mask


# --- blends


@pytest.mark.parametrize(("weight", "same"), [(0.0, "circle"), (1.0, "star")])
def test_a_blend_at_an_end_is_one_of_the_classes(named, blend, drawn, weight, same):
    assert drawn(blend(named("circle"), named("star"), weight)).equal(drawn(named(same)))


def test_a_class_blended_with_itself_is_that_class(named, blend, drawn):
    assert drawn(blend(named("star"), named("star"), 0.3)).equal(drawn(named("star")))


def test_a_blend_does_not_depend_on_the_order_of_its_classes(named, blend, drawn):
    one, other = (blend(named(a), named(b), w) for a, b, w in (("circle", "star", 0.25), ("star", "circle", 0.75)))
    assert drawn(one).equal(drawn(other))
    assert not drawn(one).equal(drawn(named("circle"))) and not drawn(one).equal(drawn(named("star")))


def test_blends_of_blends_multiply_their_weights(pack, model, named, blend):
    pair = blend(named("circle"), named("star"), 0.5)
    (picture,) = blend(pair, named("square"), 0.2)
    condition = picture.blend.condition_for(model.class_names)
    assert condition.classes == (0, 1, 2) and condition.weights == pytest.approx((0.4, 0.2, 0.4))


def test_several_classes_are_blended_in_turn_after_those_that_came_in(pack, model, named):
    many = pack.run(
        "RandARClassBlend", first=named("circle", "square", "star"), second=named("star"), weight=0.5,
        classes=named("square"),
    )[0]  # fmt: skip
    conditions = [picture.blend.condition_for(model.class_names) for picture in many]
    assert [condition.classes for condition in conditions] == [(1,), (0, 2), (1, 2), (2,)]


def test_classes_of_different_models_are_not_blended(pack, named, blend, drawn):
    castle = pack.run("RandARClass", class_name="built-in: castle")[0]
    tench = pack.run("RandARClass", class_name="0: tench")[0]
    with pytest.raises(ValueError, match="'built-in: castle' and '0: tench' belong to different models"):
        blend(castle, tench, 0.5)
    with pytest.raises(ValueError, match="doesn't know the class 'built-in: castle'"):
        drawn(blend(named("star"), castle, 0.5))


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -0.1, 1.1])
def test_a_weight_out_of_range_is_refused(named, blend, weight):
    with pytest.raises(ValueError, match="weight of the second class is .*from 0 to 1"):
        blend(named("circle"), named("star"), weight)


# --- regions


@pytest.mark.parametrize("size", [(16, 16), (4, 4), (1, 1), (33, 7), (300, 200)])
def test_a_region_of_the_whole_picture_is_the_class(named, region, drawn, size):
    assert drawn(region(named("star"), torch.ones(1, *size))).equal(drawn(named("star")))


def test_two_regions_differ_from_either_class(named, region, drawn):
    both = region(named("star"), left_half(), background=named("circle"))
    ids = drawn(both)
    assert not ids.equal(drawn(named("star"))) and not ids.equal(drawn(named("circle")))
    other_half = region(named("circle"), 1 - left_half(), background=region(named("star"), left_half()))
    assert ids.equal(drawn(other_half))


def test_regions_chain_through_the_background_and_take_blends(model, named, blend, region):
    pair = blend(named("circle"), named("star"), 0.5)
    (picture,) = region(pair, left_half(), background=region(named("square"), 1 - left_half()))
    prompt = picture.prompt_for(model.class_names)
    assert [condition.classes for condition in prompt.conditions] == [(1,), (0, 2)]
    assert prompt.background is None


def test_classes_masks_and_backgrounds_are_used_in_turn(named, region, drawn):
    masks = torch.cat([left_half(), 1 - left_half()])
    many = region(named("star"), masks, background=named("circle", "square", "circle"))
    assert len(many) == 3 and drawn(many).shape == (3, 4, 4)


def test_a_mask_without_a_batch_is_a_region(named, region):
    assert len(region(named("star"), left_half()[0])) == len(region(named("star"), left_half().unsqueeze(1))) == 1


def test_a_region_that_covers_nothing_is_refused(named, region):
    with pytest.raises(ValueError, match="The mask covers nothing.*Paint the region"):
        region(named("star"), torch.zeros(1, 64, 64))
    with pytest.raises(ValueError, match="The masks 1 of the batch cover nothing"):
        region(named("star"), torch.cat([left_half(), torch.zeros(1, 16, 16)]))


def test_regions_are_not_blended_and_not_negative(named, blend, region, drawn):
    half = region(named("star"), left_half())
    with pytest.raises(ValueError, match="`first` has regions.*Blend or sweep the classes first"):
        blend(half, named("circle"), 0.5)
    with pytest.raises(ValueError, match="`classes` has regions.*Connect other regions to `background`"):
        region(half, left_half())
    with pytest.raises(ValueError, match="`negative` has regions"):
        drawn(named("star"), negative=half)


@pytest.mark.parametrize("node_id", ["RandARInpaint", "RandAROutpaint", "RandARCanvas", "RandARExtrapolate"])
def test_every_node_that_draws_takes_regions_and_a_negative(pack, model, named, region, node_id):
    both = region(named("star"), left_half(), background=named("circle"))
    inputs = {"model": model, "seed": 1, "steps": 4, "cfg": 2.0, "negative": named("square")}
    picture = torch.rand(1, 24, 32, 3, generator=torch.Generator().manual_seed(0))
    inputs |= {
        "RandARInpaint": {"image": picture, "mask": torch.ones(1, 24, 32), "denoise": 0.5},
        "RandAROutpaint": {"image": picture, "left": 16, "top": 0, "right": 5, "bottom": 0},
        "RandARCanvas": {"width": 48, "height": 16},
        "RandARExtrapolate": {"factor": 2},
    }[node_id]
    results = pack.run(node_id, classes=both, **inputs)
    latent = next(result for result in results if isinstance(result, dict))
    plain = next(result for result in pack.run(node_id, classes=named("star"), **inputs) if isinstance(result, dict))
    assert latent["samples"].isfinite().all() and not latent["samples"].equal(plain["samples"])


def test_regions_are_refined_and_scored(pack, model, named, region, drawn):
    both = region(named("star"), left_half(), background=named("circle"))
    latent = {"samples": model.vae.vectors(drawn(both))}
    inputs = {"model": model, "latent": latent, "cfg": 2.0, "negative": named("square")}
    confidence, _ = pack.run("RandARConfidence", classes=both, **inputs)
    other, _ = pack.run("RandARConfidence", classes=named("star"), **inputs)
    assert not confidence.equal(other)
    refined, _ = pack.run("RandARRefine", classes=both, forget="share", amount=0.5, seed=1, steps=4, **inputs)
    assert refined["samples"].isfinite().all()


def test_a_picture_does_not_depend_on_the_conditions_of_its_neighbours(named, region, drawn):
    both = region(named("star"), left_half(), background=named("circle"))
    assert drawn((*named("square"), *both))[:1].equal(drawn(named("square")))


# --- a negative class


def test_a_negative_class_changes_the_picture_only_under_guidance(named, drawn):
    assert not drawn(named("star"), negative=named("circle")).equal(drawn(named("star")))
    assert drawn(named("star"), negative=named("circle"), cfg=1.0).equal(drawn(named("star"), cfg=1.0))


def test_a_class_that_is_its_own_negative_is_drawn_without_guidance(named, drawn):
    assert drawn(named("star"), negative=named("star")).equal(drawn(named("star"), cfg=1.0))


def test_negatives_are_used_in_turn(named, drawn):
    pictures = drawn(named("star", "star"), negative=named("circle", "square"))
    assert pictures[:1].equal(drawn(named("star"), negative=named("circle")))
    assert pictures.equal(drawn(named("star", "star"), negative=named("circle", "square", "circle")))


def test_an_unknown_negative_class_is_refused(named, drawn):
    with pytest.raises(ValueError, match="circel.*Did you mean circle"):
        drawn(named("star"), negative=named("circel"))


# --- sweeps


def test_a_sweep_goes_from_one_class_to_the_other_with_the_same_random_numbers(pack, named, blend, drawn):
    sweep = pack.run("RandARClassSweep", first=named("circle"), last=named("star"), count=5)[0]
    pictures = drawn(sweep)
    for index, weight in enumerate((0.0, 0.25, 0.5, 0.75, 1.0)):
        assert pictures[index : index + 1].equal(drawn(blend(named("circle"), named("star"), weight)))


def test_a_sweep_says_that_its_pictures_share_an_index(pack, model, named):
    sweep = pack.run("RandARClassSweep", first=named("circle"), last=named("star"), count=3, classes=named("square"))[0]
    latent, _ = pack.run("RandARSampler", model=model, classes=sweep, seed=1, steps=4, cfg=2.0, batch_size=2)
    assert latent["batch_index"] == [0, 1, 1, 1, 4, 5, 5, 5]


def test_pictures_without_a_sweep_have_random_numbers_of_their_own(pack, model, named):
    latent, _ = pack.run("RandARSampler", model=model, classes=named("star", "star"), seed=1, steps=4, cfg=2.0)
    assert "batch_index" not in latent and not latent["samples"][0].equal(latent["samples"][1])


def test_a_sweep_under_a_region_is_a_sweep(pack, named, region, drawn):
    sweep = pack.run("RandARClassSweep", first=named("circle"), last=named("star"), count=3)[0]
    pictures = drawn(region(sweep, left_half(), background=named("square")))
    assert pictures[2:].equal(drawn(region(named("star"), left_half(), background=named("square"))))


@pytest.mark.parametrize("name", ["first", "last"])
def test_a_sweep_between_several_classes_is_refused(pack, named, name):
    ends = {"first": named("circle"), "last": named("star")} | {name: named("circle", "square")}
    with pytest.raises(ValueError, match=f"`{name}` has 2 classes"):
        pack.run("RandARClassSweep", count=4, **ends)
