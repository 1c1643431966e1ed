"""A skyline: towers in front of towers, with windows that are lit at night."""

import numpy as np

from ..sdf import box, convex
from .layout import CELL, Layer, Layout, snap
from .moods import MATERIALS, lerp, lit, rgb, shaded
from .painter import Painter

WALLS = ("slate", "brick", "stone", "teal")


def paint_skyline(painter: Painter, scene: Layout, random: np.random.Generator, layer: Layer, windows: bool) -> None:
    """A row of towers from edge to edge."""
    painter.part = "towers"
    width, haze = layer.spacing, layer.haze
    left, right = painter.across()
    x = snap(left - width * random.random() - width)
    glass = lerp(MATERIALS["window"], rgb(scene.mood.haze), haze)
    while x < right + width:
        wide, tall, kind, wall = random.random(4).tolist()
        half = CELL if wide < 0.6 else 1.5 * CELL
        tall = snap(layer.height * (0.5 + 0.5 * tall), CELL / 2)
        name = WALLS[int(wall * len(WALLS))]
        light, shade = lit(scene.mood, name, haze), shaded(scene.mood, name, haze)
        light = lerp(light, shade, 0.3)
        pane = glass if scene.mood.night else lerp(light, lit(scene.mood, "white", haze), 0.5)

        def tower(u, v, half=half, tall=tall, kind=kind, light=light, shade=shade, pane=pane):
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

        painter.shapes(
            x + half, layer.base, 1.0, (-half - 0.01, -tall - 0.12, half + 0.01, 0.3), tower, flip=scene.light
        )
        x += 2 * half
