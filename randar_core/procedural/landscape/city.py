"""A skyline: towers in front of towers, with windows that are lit at night."""

import numpy as np

from ..sdf import Field, box, convex
from .layout import CELL, Layer, Layout, snap
from .moods import MATERIALS, lerp, lit, rgb, shaded
from .painter import Painter, Shapes

WALLS = ("slate", "brick", "stone", "teal")


def paint_skyline(painter: Painter, scene: Layout, random: np.random.Generator, layer: Layer, windows: bool) -> None:
    """A row of towers from edge to edge."""
    painter.part = "towers"
    width = layer.spacing
    first = x = snap(-width * random.random() - width)
    while x < 1.0 + width:
        x += paint_tower(painter, scene, random, layer, x, windows)
    if any(painter.beside(width)):  # from generators of their own: the scene is the same in every view
        to_left, to_right = random.spawn(2)
        while x < painter.view.right + width:
            x += paint_tower(painter, scene, to_right, layer, x, windows)
        while first > painter.view.left - width:
            first -= paint_tower(painter, scene, to_left, layer, first, windows, side=-1)


def paint_tower(
    painter: Painter,
    scene: Layout,
    random: np.random.Generator,
    layer: Layer,
    x: float,
    windows: bool,
    side: int = 1,
) -> float:
    """A tower that begins at x and reaches to the right, or with a `side` of -1 to the left; returns its width."""
    haze = layer.haze
    wide, tall, kind, wall = random.random(4).tolist()
    half = CELL if wide < 0.6 else 1.5 * CELL
    tall = snap(layer.height * (0.5 + 0.5 * tall), CELL / 2)
    name = WALLS[int(wall * len(WALLS))]
    light, shade = lit(scene.mood, name, haze), shaded(scene.mood, name, haze)
    light = lerp(light, shade, 0.3)
    glass = lerp(MATERIALS["window"], rgb(scene.mood.haze), haze)
    pane = glass if scene.mood.night else lerp(light, lit(scene.mood, "white", haze), 0.5)

    def tower(u: Field, v: Field) -> Shapes:
        body = box(u, v + tall / 2, half, tall / 2)
        parts = []
        if kind < 0.3:
            parts.append((box(u, v + tall, half * 0.5, 0.05), light))
        elif kind < 0.5:
            parts.append((convex(u, v, (0, -tall - 0.1), (half, -tall), (-half, -tall)), light))
        parts += [(body, light), (np.maximum(body, u + half * 0.3), shade)]
        if windows:
            pitch = CELL
            row = (-v - tall + 0.5 * pitch) % pitch - pitch / 2
            panes = box(u - half * 0.35, row, half * 0.36, 0.014)
            parts.append((np.maximum(np.maximum(panes, -v - tall + 0.03), v + 0.05), pane))
        return parts

    extent = (-half - 0.01, -tall - 0.12, half + 0.01, 0.3)
    painter.shapes(x + side * half, layer.base, 1.0, extent, tower, flip=scene.light)
    return 2 * half
