"""The landscapes: the same everywhere, one scene under every class, things whole."""

import itertools
import json

import numpy as np
import pytest
import torch

from randar_core.procedural.landscape.layout import CELL, NIGHTS, layout
from randar_core.procedural.landscape.moods import MOODS
from randar_core.procedural.landscape.painter import SCENE, Painter, View
from randar_core.procedural.landscape.painters import CLASSES as PAINTERS
from randar_core.procedural.landscape.painters import OTHER_SCENES
from randar_core.procedural.landscape.pictures import CLASSES, Landscapes, picture, variation
from randar_core.procedural.landscape.things import middle_of, spread

SCENES = range(24)
SIZE = 64


def test_the_twelve_classes_keep_their_ids():
    assert CLASSES == (
        "sea", "mountains", "desert", "forest", "city", "aurora", "house", "lighthouse", "tree", "sailing boat",
        "hot-air balloon", "castle",
    )  # fmt: skip
    assert [painter.__name__ for painter in PAINTERS.values()] == [
        name.replace(" ", "_").replace("-", "_") for name in CLASSES
    ]


MEANS = {
    0: [156.89, 88.96, 116.79],
    5: [60.4, 115.0, 141.27],
    10: [196.38, 170.02, 103.42],
    14: [186.24, 102.66, 106.86],
    27: [41.98, 81.95, 112.65],
}


@pytest.mark.parametrize("index", MEANS)
def test_pictures_have_the_colours_that_they_had_when_the_built_in_model_learnt_them(index):
    assert picture(0, index)[0].reshape(-1, 3).mean(0) == pytest.approx(MEANS[index], abs=0.1)


def test_a_picture_depends_on_seed_index_and_class_only():
    pictures = Landscapes(seed=5, count=40)
    for index in (33, 7, 21):
        pixels, label = pictures[index]
        assert pixels.shape == (128, 128, 3) and pixels.dtype == np.uint8 and label == index % 12
        assert np.array_equal(pixels, picture(5, index, label)[0])


def test_other_seeds_indices_and_classes_give_other_pictures():
    drawn = [picture(seed, index, 3, size=32)[0] for seed, index in ((0, 0), (0, 1), (1, 0), (1, 1))]
    drawn += [picture(0, 0, label, size=32)[0] for label in range(12) if label != 3]
    assert all(not np.array_equal(a, b) for a, b in itertools.combinations(drawn, 2))


def test_global_random_state_is_neither_read_nor_moved():
    np.random.seed(1)
    before, first = np.random.get_state()[1].copy(), picture(0, 3)[0]
    assert np.array_equal(before, np.random.get_state()[1])
    np.random.seed(2)
    assert np.array_equal(first, picture(0, 3)[0])


def test_the_same_index_under_another_label_has_the_same_sky():
    for index in SCENES:
        sea, desert = (picture(2, index, CLASSES.index(name))[0] for name in ("sea", "desert"))
        assert np.array_equal(sea[:38], desert[:38])
        assert not np.array_equal(sea[90:], desert[90:])


def test_northern_lights_are_seen_at_night_alone():
    found = {layout(0, index, NIGHTS).mood.name for index in range(60)}
    assert found == {mood.name for mood in MOODS if mood.night}
    for index in SCENES:
        assert picture(0, index, CLASSES.index("aurora"), size=32)[0].mean() < 128


def test_every_mood_and_backdrop_is_drawn_and_the_sun_shows_in_about_half_of_the_pictures():
    scenes = [layout(0, index) for index in range(400)]
    assert min(sum(scene.mood is mood for scene in scenes) for mood in MOODS) > 25
    assert {scene.far for scene in scenes} == {scene.accent for scene in scenes} == {0, 1, 2}
    shown = np.mean([scene.sun_radius > 0 and 0 < scene.sun[0] < 1 for scene in scenes])
    assert 0.4 < shown < 0.55
    assert {len([y for _, y, _ in scene.clouds if y > 0]) for scene in scenes} == {0, 1, 2}


def test_places_are_whole_cells_or_half_ones_and_sizes_are_few():
    scenes = [layout(7, index) for index in range(200)]
    for scene in scenes:
        assert (scene.horizon / CELL * 2).is_integer() and 0.5 <= scene.horizon <= 0.66
        places = (*scene.sun, *(length for cloud in scene.clouds for length in cloud[:2]), middle_of(scene, 0.3))
        assert all((length / CELL).is_integer() for length in places)
    for sizes in ({scene.scale for scene in scenes}, {cloud[2] for scene in scenes for cloud in scene.clouds}):
        assert len(sizes) == 3
    # Every cell that there is room for is taken.
    assert {middle_of(scene, 0.3) for scene in scenes} == {CELL * number for number in range(6, 11)}


@pytest.mark.parametrize("half", [0.1, 0.2, 0.3])
def test_the_main_thing_is_whole_and_the_others_stand_clear_of_it(half):
    numbers = set()
    for index in range(60):
        scene = layout(1, index)
        things = spread(scene, np.random.default_rng(index), half)
        numbers.add(len(things))
        assert things[-1] == (middle_of(scene, half), 1.0)
        assert half < things[-1][0] < 1 - half
        for (x, size), (other, other_size) in itertools.combinations(things, 2):
            assert abs(x - other) > half * (size + other_size)
    assert numbers >= {1, 2}


def test_a_larger_picture_is_the_same_picture():
    for index in range(12):
        small, large = picture(3, index, size=64)[0], picture(3, index, size=256)[0]
        reduced = large.reshape(64, 4, 64, 4, 3).mean((1, 3))
        assert np.abs(reduced - small).mean() < 2.5


@pytest.mark.parametrize("label", range(12))
@pytest.mark.parametrize(
    ("view", "of_scene", "of_view"),
    [
        (View(top=-0.5), np.s_[: SIZE // 2], np.s_[SIZE // 2 :]),
        (View(top=0.5), np.s_[SIZE // 2 :], np.s_[: SIZE // 2]),
        (View(left=-0.25), np.s_[:, : 3 * SIZE // 4], np.s_[:, SIZE // 4 :]),
        (View(left=0.5), np.s_[:, SIZE // 2 :], np.s_[:, : SIZE // 2]),
        (View(0.25, 0.5, 0.5), np.s_[SIZE // 2 :, SIZE // 4 : 3 * SIZE // 4], np.s_[:]),
    ],
    ids=["above", "below", "left", "right", "a part"],
)
def test_a_view_shows_the_part_of_the_scene_that_it_shares_with_the_whole_one(label, view, of_scene, of_view):
    for index in range(3):
        whole, _ = picture(6, index, label, SIZE)
        seen, _ = picture(6, index, label, round(SIZE * view.side), view)  # in pixels as large as those of the whole
        if CLASSES[label] == "sea" and view.bottom > 1:
            whole, seen = whole[: SIZE * 3 // 4], seen[: SIZE // 4]  # waves below the scene reach into it
        differs = np.abs(whole[of_scene].astype(int) - seen[of_view].astype(int)).max(2) > 1
        assert differs.mean() < 0.002  # the slope of a ridge is another one where the view ends


@pytest.mark.parametrize("name", ["mountains", "desert", "forest", "city", "aurora"])
@pytest.mark.parametrize("left", [-3, 3])
def test_rows_of_things_go_on_beside_the_scene(name, left):
    def edges(view: View) -> float:
        """How much there is to see in the lower half."""
        drawn = [picture(6, index, CLASSES.index(name), SIZE, view)[0] for index in range(6)]
        return np.abs(np.diff(np.stack(drawn)[:, SIZE // 2 :].astype(int), axis=2)).mean()

    assert edges(View(left)) > 0.8 * edges(SCENE)


STANDS_IN = [(thing, scene_class) for thing, scenes in OTHER_SCENES.items() for scene_class in scenes]


@pytest.mark.parametrize(("thing", "scene_class"), STANDS_IN)
def test_a_thing_in_another_scene_leaves_the_scene_around_it(thing, scene_class):
    for index in range(3):
        scene = layout(8, index, NIGHTS if scene_class == "aurora" else MOODS)
        plain = Painter(SIZE)
        random = np.random.default_rng((8, index, CLASSES.index(thing)))
        PAINTERS[scene_class](plain, scene, random)
        both, label = picture(8, index, CLASSES.index(thing), SIZE, scene_class=scene_class)
        kept = (plain.picture() == both).all(2)
        assert label == CLASSES.index(thing)
        assert 0.3 < kept.mean() < 0.95 and kept[0].all()


@pytest.mark.parametrize(("name", "scene_class"), [("house", "beach"), ("sea", "city"), ("sailing boat", "desert")])
def test_a_scene_that_a_class_cannot_stand_in_is_named(name, scene_class):
    with pytest.raises(ValueError, match=f"'{name}' doesn't stand in the scene '{scene_class}'"):
        picture(0, 0, CLASSES.index(name), SIZE, scene_class=scene_class)


def test_a_share_of_the_pictures_is_varied_and_the_others_stay():
    plain, varied = Landscapes(9, 240, 32), Landscapes(9, 240, 32, views=0.15, foreign_scenes=0.25)
    made = [variation(9, index, 0.15, 0.25) for index in range(240)]
    assert 18 <= sum(view != SCENE for view, _ in made) <= 54 and {view.side for view, _ in made} == {0.5, 1.0}
    assert 15 <= sum(scene_class is not None for _, scene_class in made) <= 45
    for index in range(0, 240, 7):
        same = np.array_equal(plain[index][0], varied[index][0])
        assert same == (made[index] == (SCENE, None)) and plain[index][1] == varied[index][1]
    assert all(made[index][1] is None for index in range(240) if CLASSES[index % 12] not in OTHER_SCENES)
    assert {made[index][1] for index in range(9, 240, 12)} <= {None, "sea", "city"}  # boats
    assert plain.facts().items() < varied.facts().items()


@pytest.mark.parametrize("label", [-1, 12])
def test_an_unknown_label_is_named(label):
    with pytest.raises(ValueError, match=f"label is {label}; .* 0 to 11"):
        picture(0, 0, label)


def test_a_torch_loader_reads_the_set_and_its_facts_are_json():
    pictures = Landscapes(seed=4, count=8, size=32)
    pixels, labels = next(iter(torch.utils.data.DataLoader(pictures, batch_size=8)))
    assert pixels.shape == (8, 32, 32, 3) and labels.tolist() == list(range(8))
    assert len(list(Landscapes(seed=4, count=3, size=32))) == 3
    facts = {"landscapes_seed": 4, "pictures": 8, "size": 32, "drawing": 2}
    assert json.loads(json.dumps(pictures.facts())) == facts
