"""Water: it holds the colours of the sky, the light of the sun, waves and what is mirrored."""

import math

import numpy as np

from ..sdf import box
from .layout import CELL, Layout, snap
from .moods import lerp, rgb
from .painter import Painter


def paint_water(painter: Painter, scene: Layout, level: float) -> None:
    """Everything below `level`, with a path of light below the sun."""
    painter.part = "water"
    near, far = rgb(scene.mood.deep), lerp(rgb(scene.mood.sky[2]), rgb(scene.mood.deep), 0.4)
    painter.below(painter.level(level), painter.gradient(level, 0.95, far, near))
    if not scene.sun_radius:
        return
    x = scene.sun[0]
    glow = lerp(rgb(scene.mood.sun), rgb(scene.mood.glow), 0.4)
    for number in range(3):
        y = level + CELL * (0.5 + number)
        half = scene.sun_radius * (1.25 - 0.3 * number)

        def bar(u, v, half=half):
            return [(box(u, v, half, 0.016, 0.016), glow)]

        painter.shapes(x, y, 1.0, (-half, -0.02, half, 0.02), bar, opacity=0.75 - 0.12 * number)


def paint_waves(painter: Painter, scene: Layout, random: np.random.Generator, level: float, rows: int) -> None:
    """Rows of waves towards the foreground, each with a light crest."""
    painter.part = "water"
    deep, light = rgb(scene.mood.deep), lerp(rgb(scene.mood.sky[2]), rgb(scene.mood.sun), 0.3)
    x = painter.x[0]
    below = max(0.0, painter.view.bottom - 1.0)
    for number in range(rows + math.ceil(below / (1.0 - level) * rows / 0.74)):
        near = min((number + 1) / rows, 1.0)
        base = snap(level + (1.0 - level) * (0.26 + 0.74 * number / rows), CELL / 2)
        length = snap(0.24 + 0.26 * near)
        at = ((x + np.float32(snap(random.random()))) / np.float32(length)) % 1
        # Round below and pointed above, as scallops are.
        ridge = np.float32(base) - np.float32(0.03 + 0.045 * near) * np.abs(2 * at - 1) ** 1.8
        colour = lerp(lerp(rgb(scene.mood.sky[1]), deep, 0.45), deep, near)
        painter.below(ridge, lerp(colour, light, 0.3))
        body = painter.gradient(base, base + 0.25, colour, lerp(colour, deep, 0.5))
        painter.below(ridge + np.float32(0.026 + 0.016 * near), body)
