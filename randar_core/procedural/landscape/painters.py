"""The classes: which layers and things make each of them."""

import math
from collections.abc import Callable

import numpy as np

from .buildings import paint_castle, paint_house, paint_lighthouse
from .city import paint_skyline
from .layout import CELL, Layer, Layout, one_of, snap
from .moods import lerp, lit, shaded
from .painter import Painter
from .relief import paint_dunes, paint_hills, paint_peaks
from .sky import paint_aurora, paint_open_sky, paint_sky
from .vessels import paint_balloon, paint_boat
from .water import paint_water, paint_waves
from .woods import paint_row_of_firs, paint_tree

Random = np.random.Generator


def backdrop(painter: Painter, scene: Layout, random: Random) -> None:
    """Sky, clouds and what rises at the horizon."""
    paint_open_sky(painter, scene)
    if scene.far == 1:
        paint_hills(painter, scene, random, Layer(scene.horizon - 0.02, 1 / 1.1, 0.1, scene.haze), "fir")
    elif scene.far == 2:
        paint_peaks(painter, scene, random, Layer(scene.horizon + 0.02, 0.34, 0.2, scene.haze))


def countryside(painter: Painter, scene: Layout, random: Random) -> None:
    """Backdrop, a hill in the middle ground and one in front."""
    backdrop(painter, scene, random)
    paint_hills(painter, scene, random, Layer(scene.horizon + 0.04, 1 / 0.9, 0.1, 0.4 * scene.haze))
    paint_hills(painter, scene, random, Layer(scene.horizon + 0.2, 1 / 0.6, 0.07))


def sea(painter: Painter, scene: Layout, random: Random) -> None:
    paint_open_sky(painter, scene)
    if scene.far == 1:
        paint_hills(painter, scene, random, Layer(scene.horizon - 0.01, 1 / 1.1, 0.08, scene.haze), "fir")
    paint_water(painter, scene, scene.horizon)
    paint_waves(painter, scene, random, scene.horizon, rows=3)


def mountains(painter: Painter, scene: Layout, random: Random) -> None:
    paint_open_sky(painter, scene)
    paint_peaks(painter, scene, random, Layer(scene.horizon + 0.1, 0.34, 0.36, scene.haze), snow=0.4)
    paint_peaks(painter, scene, random, Layer(scene.horizon + 0.2, 0.5, 0.42, 0.35 * scene.haze), snow=0.4)
    paint_hills(painter, scene, random, Layer(scene.horizon + 0.16, 1 / 0.8, 0.08, 0.3 * scene.haze), "fir")
    paint_hills(painter, scene, random, Layer(scene.horizon + 0.27, 1 / 0.5, 0.06), "fir")


def desert(painter: Painter, scene: Layout, random: Random) -> None:
    paint_open_sky(painter, scene)
    paint_dunes(painter, scene, random, Layer(scene.horizon + 0.05, 0.42, 0.16, scene.haze), near=0.0)
    paint_dunes(painter, scene, random, Layer(scene.horizon + 0.2, 0.62, 0.2, 0.4 * scene.haze), near=0.4)
    paint_dunes(painter, scene, random, Layer(scene.horizon + 0.42, 0.9, 0.24), near=1.0)


def forest(painter: Painter, scene: Layout, random: Random) -> None:
    paint_open_sky(painter, scene)
    paint_row_of_firs(painter, scene, random, Layer(scene.horizon + 0.02, 0.1, 0.2, scene.haze))
    paint_row_of_firs(painter, scene, random, Layer(scene.horizon + 0.14, 0.15, 0.33, 0.5 * scene.haze))
    paint_row_of_firs(painter, scene, random, Layer(scene.horizon + 0.3, 0.22, 0.46))


def city(painter: Painter, scene: Layout, random: Random) -> None:
    paint_open_sky(painter, scene)
    foot = snap(scene.horizon + 0.14, CELL / 2)
    paint_skyline(painter, scene, random, Layer(foot, 0.13, 0.44, 0.85 * scene.haze), windows=False)
    paint_skyline(painter, scene, random, Layer(foot, 0.17, 0.32, 0.1), windows=True)
    paint_water(painter, scene, foot)


def aurora(painter: Painter, scene: Layout, random: Random) -> None:
    paint_sky(painter, scene)
    paint_aurora(painter, scene, random)
    paint_peaks(painter, scene, random, Layer(scene.horizon + 0.14, 0.36, 0.2, 0.5 * scene.haze), snow=0.5)
    paint_hills(painter, scene, random, Layer(scene.horizon + 0.16, 1 / 0.7, 0.06, 0.1), "snow")
    paint_row_of_firs(painter, scene, random, Layer(scene.horizon + 0.36, 0.24, 0.3))


def middle_of(scene: Layout, half: float) -> float:
    """Where the main thing stands, which is `half` wide to either side and whole in the picture."""
    first, last = math.ceil((half + 0.02) / CELL), math.floor((0.98 - half) / CELL)
    return CELL * (first + int(scene.place * (last - first + 1)))


def spread(scene: Layout, random: Random, half: float) -> list[tuple[float, float]]:
    """Middles and sizes of things that are `half` wide to either side at size 1: the main one comes last.

    Up to two others are smaller, as things farther away are; the picture's edge may cut them.
    """
    found = [(middle_of(scene, half), 1.0)]
    for _ in range(int(scene.others * 3)):
        x, size = random.random(2).tolist()
        x, size = snap(x), 0.45 + 0.2 * one_of(size, 2)
        if all(abs(x - other) > half * (size + other_size) for other, other_size in found):
            found.append((x, size))
    return sorted(found, key=lambda thing: thing[1])


def house(painter: Painter, scene: Layout, random: Random) -> None:
    countryside(painter, scene, random)
    height = 0.34 + 0.1 * scene.scale
    x = middle_of(scene, 0.76 * height)
    ground = snap(scene.horizon + 0.25, CELL / 2)
    side = -1 if x > 0.5 else 1
    paint_tree(painter, scene, x + side * (0.76 * height + 0.1), ground, height * 0.9, 0.1, 0)
    paint_house(painter, scene, x, ground, height)


def lighthouse(painter: Painter, scene: Layout, random: Random) -> None:
    backdrop(painter, scene, random)
    level = scene.horizon + CELL
    paint_water(painter, scene, level)
    height = 0.5 + 0.12 * scene.scale
    x = middle_of(scene, 0.24 * height + 0.06)
    rock, rock_shade = lit(scene.mood, "rock"), shaded(scene.mood, "rock")
    away = np.abs(painter.x[0] - np.float32(x))
    ridge = np.float32(level + 0.1) + np.maximum(away - 0.14, 0) ** 1.3 * 1.4
    painter.part = "rock"
    painter.below(ridge, lerp(rock, rock_shade, 0.5))
    painter.below(np.maximum(ridge, level + 0.115) + np.float32(0.02) + 0.3 * np.maximum(away - 0.1, 0), rock_shade)
    paint_lighthouse(painter, scene, x, level + 2 * CELL, height)


def tree(painter: Painter, scene: Layout, random: Random) -> None:
    countryside(painter, scene, random)
    height = 0.46 + 0.12 * scene.scale
    ground = scene.horizon + 4 * CELL
    for x, size in spread(scene, random, 0.46 * height):
        paint_tree(painter, scene, x, ground - 0.1 * (1 - size), height * size, 0.3 * (1 - size), scene.accent)


def sailing_boat(painter: Painter, scene: Layout, random: Random) -> None:
    backdrop(painter, scene, random)
    paint_water(painter, scene, scene.horizon)
    height = 0.46 + 0.12 * scene.scale
    for x, size in spread(scene, random, 0.5 * height):
        paint_boat(painter, scene, x, scene.horizon + 0.04 + 0.2 * size**2, height * size, 0.4 * (1 - size))


def hot_air_balloon(painter: Painter, scene: Layout, random: Random) -> None:
    countryside(painter, scene, random)
    height = 0.46 + 0.12 * scene.scale
    for number, (x, size) in enumerate(spread(scene, random, 0.34 * height)):
        y = snap(0.5 * height + 0.03 + (0.12 if size == 1 else 0.21) * random.random(), CELL / 2)
        paint_balloon(painter, scene, x, y, height * size, number)


def castle(painter: Painter, scene: Layout, random: Random) -> None:
    backdrop(painter, scene, random)
    height = 0.44 + 0.1 * scene.scale
    x = middle_of(scene, 0.68 * height)
    paint_hills(painter, scene, random, Layer(scene.horizon + 0.04, 1 / 0.9, 0.1, 0.4 * scene.haze))
    away = painter.x[0] - np.float32(x)
    base = snap(scene.horizon + 0.14, CELL / 2)
    ridge = np.float32(base) + np.maximum(np.abs(away) - 0.6 * height, 0) ** 1.2 * 0.5
    painter.part = "hills"
    painter.below(ridge, painter.gradient(base, base + 0.25, lit(scene.mood, "leaf"), shaded(scene.mood, "leaf")))
    paint_castle(painter, scene, x, base + 0.02, height)
    paint_hills(painter, scene, random, Layer(scene.horizon + 0.3, 1 / 0.7, 0.07))


CLASSES: dict[str, Callable[[Painter, Layout, Random], None]] = {
    "sea": sea,
    "mountains": mountains,
    "desert": desert,
    "forest": forest,
    "city": city,
    "aurora": aurora,
    "house": house,
    "lighthouse": lighthouse,
    "tree": tree,
    "sailing boat": sailing_boat,
    "hot-air balloon": hot_air_balloon,
    "castle": castle,
}
