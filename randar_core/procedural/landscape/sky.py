"""The sky: its gradient, sun or moon, clouds, northern lights."""

import numpy as np

from ..sdf import box, disc, union
from .layout import CELL, Layout, one_of, snap
from .moods import lerp, rgb
from .painter import Painter, smooth

MIDDLE, LOW = 5 * CELL, 9 * CELL
"""Heights at which the sky has its middle and its lowest colour, wherever the horizon is."""

GLOW = 0.85
"""How far a sun or a moon brightens the sky, in sides of the scene."""


def paint_sky(painter: Painter, scene: Layout) -> None:
    top, middle, low = (rgb(code) for code in scene.mood.sky)
    upper = painter.gradient(0.0, MIDDLE, top, middle)
    sky = np.where((painter.y < MIDDLE)[..., None], upper, painter.gradient(MIDDLE, LOW, middle, low))
    painter.part = "sky"
    painter.pixels[:] = sky


def paint_sun(painter: Painter, scene: Layout) -> None:
    if not scene.sun_radius:
        return
    x, y = scene.sun
    distance = np.hypot(painter.x - np.float32(x), painter.y - np.float32(y))
    glow = rgb(scene.mood.glow)
    painter.part = "sky"
    # So wide that half a picture tells whether there is a sun in the other half.
    painter.paint(np.float32(0.62) * np.clip(1 - distance / np.float32(GLOW), 0, 1) ** 2, glow)
    painter.part = "sun"
    # A flat ring, as a poster has it.
    distance /= np.float32(scene.sun_radius)
    pixels = np.float32(scene.sun_radius * painter.scale)
    painter.paint(0.28 * np.clip((1.75 - distance) * pixels + 0.5, 0, 1), glow)
    painter.paint(np.clip((1 - distance) * pixels + 0.5, 0, 1), rgb(scene.mood.sun))


def paint_clouds(painter: Painter, scene: Layout) -> None:
    painter.part = "cloud"
    colour = lerp(rgb(scene.mood.cloud), rgb(scene.mood.sky[1]), 0.1)
    for number, (x, y, half) in enumerate(scene.clouds):
        side = 1 if number % 2 else -1

        def cloud(u, v):
            bars = union(
                box(u, v, 1.0, 0.17, 0.17),
                box(u - 0.12, v + 0.24, 0.52, 0.2, 0.2),
            )
            return [(union(bars, disc(u - 0.2, v + 0.36, 0.3)), colour)]

        painter.shapes(x, y, half, (-1.05, -0.75, 1.05, 0.25), cloud, flip=side, opacity=0.92)


def paint_open_sky(painter: Painter, scene: Layout) -> None:
    """The sky with a sun or a moon and clouds."""
    paint_sky(painter, scene)
    paint_sun(painter, scene)
    paint_clouds(painter, scene)


AURORAS = (("5CF2A6", "3FB8C9"), ("7BF0C0", "9A6BE0"), ("58E8C8", "E070B8"))
"""Of the lower edge of the curtain and of its upper end."""


def paint_aurora(painter: Painter, scene: Layout, random: np.random.Generator) -> None:
    """Curtains of light: bright along a winding lower edge, fading upwards."""
    painter.part = "aurora"
    low, high = (rgb(code) for code in AURORAS[scene.accent])
    x, y = painter.x, painter.y
    for number in range(2):
        phase, bend, tilt = (one_of(share, count) for share, count in zip(random.random(3), (9, 2, 3), strict=True))
        base = snap(scene.horizon * (0.86 - 0.36 * number) - 0.04, CELL / 2)
        edge = base + 0.06 * np.sin(2 * np.pi * (x * (0.8 + 0.5 * bend) + phase)) + 0.12 * (tilt - 0.5) * (x - 0.5)
        height = 0.34 + 0.12 * np.sin(2 * np.pi * (x * 1.6 + phase * 3 + 0.3))
        above = ((edge - y) / height).astype(np.float32)
        strength = smooth(0.0, 0.12, above) * np.clip(1 - above, 0, 1) ** 1.6
        strength *= (0.8 + 0.2 * np.sin(2 * np.pi * (x * 3.1 + phase * 5))).astype(np.float32)
        painter.paint(0.95 * strength, low + np.clip(above * 1.5, 0, 1)[..., None] * (high - low))
