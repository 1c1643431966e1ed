"""The things of the classes, each put where it stands in a scene that is painted already.

`ground` is the material under a thing in a scene of another class. House and trees stand on a mound of it, lighthouse
and castle have their own of it, boats and balloons need none. In their own scenes it is None.
"""

import math

import numpy as np

from .buildings import paint_castle, paint_house, paint_lighthouse
from .layout import CELL, Layout, one_of, snap
from .moods import lerp, lit, shaded
from .painter import Painter
from .vessels import paint_balloon, paint_boat
from .woods import paint_tree

Random = np.random.Generator


def middle_of(scene: Layout, half: float) -> float:
    """Where the main thing stands, which is `half` wide to either side and whole in the scene."""
    first, last = math.ceil((half + 0.02) / CELL), math.floor((0.98 - half) / CELL)
    return CELL * (first + int(scene.place * (last - first + 1)))


def spread(scene: Layout, random: Random, half: float) -> list[tuple[float, float]]:
    """Middles and sizes of things that are `half` wide to either side at size 1: the main one comes last.

    Up to two others are smaller, as things farther away are; the scene's edge may cut them.
    """
    found = [(middle_of(scene, half), 1.0)]
    for _ in range(int(scene.others * 3)):
        x, size = random.random(2).tolist()
        x, size = snap(x), 0.45 + 0.2 * one_of(size, 2)
        if all(abs(x - other) > half * (size + other_size) for other, other_size in found):
            found.append((x, size))
    return sorted(found, key=lambda thing: thing[1])


def paint_mound(painter: Painter, scene: Layout, x: float, half: float, top: float, ground: str) -> None:
    """A mound of `ground` that is flat for `half` to either side of x."""
    away = np.abs(painter.x[0] - np.float32(x))
    painter.part = "hills"
    ridge = np.float32(top) + np.maximum(away - half, 0) ** 1.3 * 1.4
    light, shade = lit(scene.mood, ground), shaded(scene.mood, ground)
    painter.below(ridge, painter.gradient(top, top + 0.25, lerp(light, shade, 0.35), shade))


def put_house(painter: Painter, scene: Layout, random: Random, ground: str | None = None) -> None:
    height = 0.34 + 0.1 * scene.scale
    x = middle_of(scene, 0.76 * height)
    foot = snap(scene.horizon + 0.25, CELL / 2)
    side = -1 if x > 0.5 else 1
    if ground:
        paint_mound(painter, scene, x + 0.5 * side * height, 1.1 * height, foot - 0.02, ground)
    paint_tree(painter, scene, x + side * (0.76 * height + 0.1), foot, height * 0.9, 0.1, 0)
    paint_house(painter, scene, x, foot, height)


def put_lighthouse(painter: Painter, scene: Layout, random: Random, ground: str | None = None) -> None:
    """A lighthouse and the rock under it."""
    level = scene.horizon + CELL
    height = 0.5 + 0.12 * scene.scale
    x = middle_of(scene, 0.24 * height + 0.06)
    rock, rock_shade = lit(scene.mood, ground or "rock"), shaded(scene.mood, ground or "rock")
    away = np.abs(painter.x[0] - np.float32(x))
    ridge = np.float32(level + 0.1) + np.maximum(away - 0.14, 0) ** 1.3 * 1.4
    painter.part = "rock"
    painter.below(ridge, lerp(rock, rock_shade, 0.5))
    painter.below(np.maximum(ridge, level + 0.115) + np.float32(0.02) + 0.3 * np.maximum(away - 0.1, 0), rock_shade)
    paint_lighthouse(painter, scene, x, level + 2 * CELL, height)


def put_trees(painter: Painter, scene: Layout, random: Random, ground: str | None = None) -> None:
    height = 0.46 + 0.12 * scene.scale
    for x, size in spread(scene, random, 0.46 * height):
        foot = scene.horizon + 4 * CELL - 0.1 * (1 - size)
        if ground:
            paint_mound(painter, scene, x, 0.3 * height * size, foot - 0.02, ground)
        paint_tree(painter, scene, x, foot, height * size, 0.3 * (1 - size), scene.accent)


def put_boats(painter: Painter, scene: Layout, random: Random, ground: str | None = None) -> None:
    height = 0.46 + 0.12 * scene.scale
    for x, size in spread(scene, random, 0.5 * height):
        paint_boat(painter, scene, x, scene.horizon + 0.04 + 0.2 * size**2, height * size, 0.4 * (1 - size))


def put_balloons(painter: Painter, scene: Layout, random: Random, ground: str | None = None) -> None:
    height = 0.46 + 0.12 * scene.scale
    for number, (x, size) in enumerate(spread(scene, random, 0.34 * height)):
        y = snap(0.5 * height + 0.03 + (0.12 if size == 1 else 0.21) * random.random(), CELL / 2)
        paint_balloon(painter, scene, x, y, height * size, number)


def put_castle(painter: Painter, scene: Layout, random: Random, ground: str | None = None) -> None:
    """A castle and the hill under it."""
    height = 0.44 + 0.1 * scene.scale
    x = middle_of(scene, 0.68 * height)
    away = painter.x[0] - np.float32(x)
    base = snap(scene.horizon + 0.14, CELL / 2)
    ridge = np.float32(base) + np.maximum(np.abs(away) - 0.6 * height, 0) ** 1.2 * 0.5
    colours = (tint(scene.mood, ground or "leaf") for tint in (lit, shaded))
    painter.part = "hills"
    painter.below(ridge, painter.gradient(base, base + 0.25, *colours))
    paint_castle(painter, scene, x, base + 0.02, height)
