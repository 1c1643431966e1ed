"""A skyline: towers before towers, with lit windows, and their mirror image where there is water."""

import numpy as np

from ..sdf import box, convex
from .layout import Layout
from .moods import MATERIALS, lerp, lit, rgb, shaded
from .painter import Painter

WALLS = ("slate", "brick", "stone", "teal")


def paint_skyline(painter: Painter, scene: Layout, base: float, random, width, height, haze, windows: bool) -> None:
    """A row of towers from edge to edge that stand on `base`."""
    x = -width * random.random() - width
    glass = lerp(MATERIALS["window"], rgb(scene.mood.haze), haze) if scene.mood.night else None
    while x < 1.0 + width:
        wide, tall, kind, wall = random.random(4).tolist()
        half, tall = width * (0.38 + 0.14 * wide), height * (0.5 + 0.5 * tall)
        name = WALLS[int(wall * len(WALLS))]
        light, shade = lit(scene.mood, name, haze), shaded(scene.mood, name, haze)
        light = lerp(light, shade, 0.3)
        pane = glass if glass is not None else lerp(light, lit(scene.mood, "white", haze), 0.5)

        def tower(u, v, half=half, tall=tall, kind=kind, light=light, shade=shade, pane=pane):
            body = box(u, v + tall / 2, half, tall / 2)
            parts = []
            if kind < 0.3:
                parts += [(box(u, v + tall, half * 0.5, 0.05), light)]
            elif kind < 0.5:
                parts += [(convex(u, v, (0, -tall - 0.1), (half, -tall), (-half, -tall)), light)]
            parts += [(body, light), (np.maximum(body, u + half * 0.3), shade)]
            if windows:
                pitch = 0.065
                row, column = (-v - tall + 0.5 * pitch) % pitch - pitch / 2, (u - half * 0.35)
                pane_at = box(column, row, half * 0.36, 0.014)
                parts += [(np.maximum(np.maximum(pane_at, -v - tall + 0.03), v + 0.05), pane)]
            return parts

        painter.shapes(x + half, base, 1.0, (-half - 0.01, -tall - 0.12, half + 0.01, 0.3), tower, flip=scene.light)
        x += 2 * half + 0.004 * 0
