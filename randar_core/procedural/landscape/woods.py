"""Trees: firs in rows, and a tree with a round crown."""

import numpy as np

from ..sdf import box, disc, union
from .layout import CELL, Layer, Layout, one_of, snap
from .moods import lerp, lit, rgb, shaded
from .painter import Painter


def fir_width(v):
    """Half the width of a fir at the height v (0 its foot, -1 its top): three tiers."""
    tier = np.clip(v + 1, 0, 0.9) / 0.3
    number = np.minimum(np.floor(tier), 2)
    return 0.065 * number + 0.2 * (tier - number)


def paint_fir(painter: Painter, scene: Layout, x: float, y: float, height: float, haze: float) -> None:
    """A fir with its foot at (x, y), as far away as its `haze` says."""
    light, shade = lit(scene.mood, "fir", haze), shaded(scene.mood, "fir", haze)
    wood = shaded(scene.mood, "wood", haze)

    def fir(u, v):
        inside = np.where(v < -0.1, np.abs(u) - fir_width(v), 1.0) * np.float32(0.85)
        inside = np.maximum(inside, -1 - v)
        return [(box(u, v + 0.06, 0.045, 0.06), wood), (inside, shade), (np.maximum(inside, -u), light)]

    painter.shapes(x, y, height, (-0.4, -1.02, 0.4, 0.02), fir, flip=scene.light)


def paint_row_of_firs(painter: Painter, scene: Layout, random: np.random.Generator, layer: Layer) -> None:
    """Firs from edge to edge, and the ground below them."""
    painter.part = "firs"
    base, spacing, haze = snap(layer.base, CELL / 2), layer.spacing, layer.haze
    start = -spacing * (1 + random.random())
    for number, (shift, tall) in painter.row(random, spacing, int(1.3 / spacing) + 3, 2).items():
        x = snap(start + spacing * (number + 0.5 * shift))
        paint_fir(painter, scene, x, base + 0.02, layer.height * (0.7 + 0.3 * one_of(tall, 3)), haze)
    colour = lerp(lit(scene.mood, "fir", haze), shaded(scene.mood, "fir", haze), 0.6)
    foot = lerp(colour, rgb(scene.mood.haze), 0.45 * haze)
    painter.below(painter.level(base), painter.gradient(base, base + 0.2, colour, foot))


LEAVES = (("leaf", "leaf"), ("yellow", "brick"), ("red", "red"))
"""Materials of the lit and the shaded side of a crown: in summer, in autumn, and of a maple."""


def paint_tree(painter: Painter, scene: Layout, x: float, y: float, height: float, haze: float, leaves: int) -> None:
    """A tree with a round crown, the foot of its trunk at (x, y), as far away as its `haze` says; see `LEAVES`."""
    painter.part = "tree"
    name, under = LEAVES[leaves]
    light, shade = lit(scene.mood, name, haze), shaded(scene.mood, under, haze)
    middle = lerp(light, shade, 0.5)
    wood = shaded(scene.mood, "wood", haze)

    def tree(u, v):
        trunk = box(u, v + 0.2, 0.045, 0.24, 0.02)
        bough = np.abs((u - 0.02) - (-v - 0.3) * 0.5) - np.float32(0.028)
        bough = np.maximum(bough, np.maximum(v + 0.28, -0.5 - v))
        crown = union(
            disc(u, v + 0.72, 0.27),
            disc(u - 0.24, v + 0.55, 0.2),
            disc(u + 0.24, v + 0.55, 0.2),
            disc(u, v + 0.52, 0.22),
        )
        second = np.maximum(crown, union(disc(u - 0.08, v + 0.76, 0.25), disc(u - 0.28, v + 0.58, 0.18)))
        third = np.maximum(crown, union(disc(u - 0.14, v + 0.8, 0.17), disc(u - 0.32, v + 0.61, 0.11)))
        return [(trunk, wood), (bough, wood), (crown, shade), (second, middle), (third, light)]

    painter.shapes(x, y, height, (-0.46, -1.02, 0.46, 0.06), tree, flip=scene.light)
