"""The shapes: the same everywhere, whole objects, clear against their background."""

import itertools

import numpy as np
import pytest
import torch

from randar_core.procedural.render import Pictures, batch, picture, picture_with_mask, silhouette
from randar_core.procedural.scene import (
    BACKGROUNDS,
    LARGEST_HALF,
    MARGIN,
    PALETTES,
    PORTRAIT,
    UPRIGHT,
    Bounds,
    rgb,
    scene,
)
from randar_core.procedural.shapes import CLASSES, SHAPES

SCENES = range(24)


def test_the_twelve_classes_keep_their_ids():
    assert CLASSES == (
        "circle", "square", "triangle", "star", "heart", "ring", "cross", "moon", "flower", "house", "tree", "fish",
    )  # fmt: skip
    assert [shape.parts.__name__ for shape in SHAPES] == list(CLASSES)


def test_a_picture_depends_on_seed_and_index_only():
    together, labels = batch(seed=5, start=30, count=14)
    assert together.shape == (14, 128, 128, 3) and together.dtype == np.uint8
    assert labels.dtype == np.int64
    for index in (43, 30, 37):
        alone, label = picture(5, index)
        assert np.array_equal(alone, together[index - 30])
        assert label == labels[index - 30]


def test_other_seeds_and_other_indices_give_other_pictures():
    drawn = [picture(seed, index, label=3)[0] for seed, index in ((0, 0), (0, 1), (1, 0), (1, 1))]
    assert all(not np.array_equal(a, b) for a, b in itertools.combinations(drawn, 2))


def test_global_random_state_is_neither_read_nor_moved():
    np.random.seed(1)
    before, first = np.random.get_state()[1].copy(), picture(0, 3)[0]
    assert np.array_equal(before, np.random.get_state()[1])
    np.random.seed(2)
    assert np.array_equal(first, picture(0, 3)[0])


def test_labels_take_turns():
    assert batch(0, 7, 24, size=32)[1].tolist() == [(7 + i) % 12 for i in range(24)]


@pytest.mark.parametrize("label", range(len(CLASSES)), ids=CLASSES)
def test_objects_lie_whole_inside_the_picture_and_fill_a_good_part_of_it(label):
    for index in SCENES:
        _, mask, _ = picture_with_mask(1, index, label)
        assert mask.shape == (128, 128) and mask.dtype == bool
        assert not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        longest = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
        assert 0.34 * 128 <= longest <= 0.85 * 128


def test_a_bound_on_the_turn_changes_nothing_else():
    square = CLASSES.index("square")
    turns = [abs(scene(1, index).turn) * SHAPES[square].turn for index in SCENES]
    assert min(turns) < UPRIGHT.turn < max(turns)
    for index in SCENES:
        free, mask_free, _ = picture_with_mask(1, index, square)
        upright, mask_upright, _ = picture_with_mask(1, index, square, bounds=UPRIGHT)
        # The shadow reaches at most 11 pixels beyond the object.
        either = np.pad(mask_free | mask_upright, 12)
        near = np.any(
            [np.roll(either, (dy, dx), (0, 1)) for dy in range(-12, 13) for dx in (-12, -6, 0, 6, 12)], axis=0
        )
        assert np.array_equal(free[~near[12:-12, 12:-12]], upright[~near[12:-12, 12:-12]])
        centres = [np.argwhere(mask).mean(0) for mask in (mask_free, mask_upright)]
        assert np.abs(centres[0] - centres[1]).max() < 1 and abs(mask_free.mean() / mask_upright.mean() - 1) < 0.03
        # A square's box is cos + sin of its turn times its side: the wider, the further it is turned.
        rows = np.flatnonzero(mask_upright.any(1))
        allowed = np.deg2rad(UPRIGHT.turn)
        assert rows[-1] - rows[0] + 1 <= np.sqrt(mask_upright.sum()) * (np.cos(allowed) + np.sin(allowed)) + 2


def test_bounds_on_size_and_facing():
    def width(mask):
        columns = np.flatnonzero(mask.any(0))
        return columns[-1] - columns[0] + 1

    house, circle = CLASSES.index("house"), CLASSES.index("circle")
    mirrored = [index for index in SCENES if scene(1, index).mirrored]
    assert mirrored
    for index in SCENES:
        _, mask, _ = picture_with_mask(1, index, circle, bounds=PORTRAIT)
        assert 0.3 * 2 * 0.95 * 128 - 2 <= width(mask) <= 0.4 * 2 * 0.95 * 128 + 2
        assert not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())
        free, one_way = (picture(1, index, house, bounds=Bounds(mirrored=either))[0] for either in (True, False))
        assert np.array_equal(free, one_way) == (index not in mirrored)


@pytest.mark.parametrize("half", [(0.3, 0.2), (0.3, 0.5), (0.0, 0.3), (float("nan"), 0.3)])
def test_sizes_without_room_are_refused(half):
    with pytest.raises(ValueError, match="between 0.1 and 0.8 sides of the picture"):
        Bounds(half=half)


@pytest.mark.parametrize("turn", [-1.0, float("nan")])
def test_turns_that_are_none_are_refused(turn):
    with pytest.raises(ValueError, match="must be 0 degrees or more"):
        Bounds(turn=turn)


def test_the_largest_object_has_room():
    assert max(shape.reach for shape in SHAPES) * LARGEST_HALF + MARGIN <= 0.5


@pytest.mark.parametrize("label", range(len(CLASSES)), ids=CLASSES)
def test_reach_holds_the_whole_shape(label):
    x, y = np.meshgrid(*[np.linspace(-1.6, 1.6, 321, dtype=np.float32)] * 2)
    inside = silhouette(SHAPES[label].parts(x, y)) < 0
    assert np.hypot(x, y)[inside].max() <= SHAPES[label].reach


def test_the_same_index_under_another_label_is_the_same_scene():
    for index in SCENES:
        one, mask_one, _ = picture_with_mask(2, index, CLASSES.index("circle"))
        other, mask_other, _ = picture_with_mask(2, index, CLASSES.index("house"))
        either = np.pad(mask_one | mask_other, 16)
        # A shadow reaches at most 0.08 sides, about 11 pixels, from the object.
        near = np.any(
            [np.roll(either, (dy, dx), (0, 1)) for dy in range(-12, 13) for dx in (-12, -6, 0, 6, 12)], axis=0
        )
        far = ~near[16:-16, 16:-16]
        assert far.mean() > 0.05
        assert np.array_equal(one[far], other[far])


def test_objects_stand_out_against_every_background():
    for palette in PALETTES:
        colours = [rgb(code) for pair in palette.objects for code in pair]
        for colour, background in itertools.product(colours, palette.backgrounds):
            assert np.linalg.norm(colour - rgb(background)) > 0.35, palette
        for body, accent in palette.objects:
            assert np.linalg.norm(rgb(body) - rgb(accent)) > 0.25, palette


def test_every_palette_and_background_is_drawn():
    scenes = [scene(0, index) for index in range(400)]
    counts = [sum(drawn.background == name for drawn in scenes) for name in BACKGROUNDS]
    assert min(counts) > 400 / len(counts) / 2
    assert len({drawn.variant for drawn in scenes}) == 6
    assert min(drawn.size for drawn in scenes) < 0.05 and max(drawn.size for drawn in scenes) > 0.95


def test_a_larger_picture_is_the_same_picture():
    for index in range(12):
        small, large = picture(3, index, size=64)[0], picture(3, index, size=256)[0]
        reduced = large.reshape(64, 4, 64, 4, 3).mean((1, 3))
        assert np.abs(reduced - small).mean() < 4


@pytest.mark.parametrize("label", [-1, 12])
def test_an_unknown_label_is_named(label):
    with pytest.raises(ValueError, match=f"label is {label}; .* 0 to 11"):
        picture(0, 0, label)


def test_a_torch_loader_reads_the_set():
    pixels, labels = next(iter(torch.utils.data.DataLoader(Pictures(seed=4, count=8, size=32), batch_size=8)))
    expected, expected_labels = batch(4, 0, 8, size=32)
    assert np.array_equal(pixels.numpy(), expected) and np.array_equal(labels.numpy(), expected_labels)
    assert len(list(Pictures(seed=4, count=3, size=32))) == 3
