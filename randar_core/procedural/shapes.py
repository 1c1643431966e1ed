"""Twelve shapes, each a list of distance fields in a frame of its own.

In a shape's frame x points to the right and y down; the farthest side is about 1 from the centre.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .sdf import Field, box, convex, disc, smooth_cut, union

CLASSES = (
    "circle",
    "square",
    "triangle",
    "star",
    "heart",
    "ring",
    "cross",
    "moon",
    "flower",
    "house",
    "tree",
    "fish",
)

BODY, ACCENT, LIGHT, DARK, SHADE = range(5)
"""Roles of an object's colours: rows of Scene.colours."""

Parts = list[tuple[Field, int]]
"""What a shape is made of, in the order it is painted: (distances, role of the colour)."""


def circle(x: Field, y: Field) -> Parts:
    return [(disc(x, y, 0.95), BODY)]


def square(x: Field, y: Field) -> Parts:
    return [(box(x, y, 0.84, 0.84, 0.14), BODY)]


def triangle(x: Field, y: Field) -> Parts:
    return [(convex(x, y + 0.06, (0, -0.86), (0.86, 0.66), (-0.86, 0.66), rounding=0.14), BODY)]


def star(x: Field, y: Field) -> Parts:
    """Quilez, regular five-pointed star: fold the plane to one edge of it."""
    radius, inner = np.float32(0.98), np.float32(0.52)
    cos, sin = np.float32(np.cos(np.pi / 5)), np.float32(np.sin(np.pi / 5))
    x, y = np.abs(x), -y
    reflect = 2 * np.maximum(cos * x - sin * y, 0)
    x, y = x - reflect * cos, y + reflect * sin
    reflect = 2 * np.maximum(-cos * x - sin * y, 0)
    x, y = np.abs(x + reflect * cos), y + reflect * sin - radius
    ex, ey = inner * sin, inner * cos - 1
    along = np.clip((x * ex + y * ey) / (ex * ex + ey * ey), 0, radius)
    distance = np.hypot(x - ex * along, y - ey * along) * np.sign(y * ex - x * ey)
    return [(distance - np.float32(0.09), BODY)]


def heart(x: Field, y: Field) -> Parts:
    """Quilez, heart: two half discs on a square that stands on its corner."""
    scale = np.float32(1.6)
    x, y = np.abs(x) / scale, np.float32(0.54) - y / scale
    lobe = np.hypot(x - np.float32(0.25), y - np.float32(0.75)) - np.float32(np.sqrt(2) / 4)
    diagonal = np.maximum(x + y, 0) / 2
    point = np.sqrt(np.minimum(x * x + (y - 1) ** 2, (x - diagonal) ** 2 + (y - diagonal) ** 2)) * np.sign(x - y)
    return [(np.where(x + y > 1, lobe, point) * scale - np.float32(0.06), BODY)]


def ring(x: Field, y: Field) -> Parts:
    return [(np.abs(np.hypot(x, y) - np.float32(0.7)) - np.float32(0.25), BODY)]


def cross(x: Field, y: Field) -> Parts:
    return [(union(box(x, y, 0.96, 0.33, 0.1), box(x, y, 0.33, 0.96, 0.1)), BODY)]


def moon(x: Field, y: Field) -> Parts:
    """Quilez, moon: a disc less a disc, exact about the horns, which are then rounded."""
    x, high = x - np.float32(0.2), np.abs(y)
    outer, inner, apart = np.float32(0.88), np.float32(0.76), np.float32(0.56)
    horn_x = (outer**2 - inner**2 + apart**2) / (2 * apart)
    horn_y = np.sqrt(outer**2 - horn_x**2)
    beyond = x * horn_y - high * horn_x > apart * np.maximum(horn_y - high, 0)
    crescent = np.maximum(disc(x, y, outer), -disc(x - apart, y, inner))
    crescent = np.where(beyond, np.hypot(x - horn_x, high - horn_y), crescent) - np.float32(0.08)
    craters = union(disc(x + 0.58, y - 0.12, 0.17), disc(x + 0.34, y + 0.52, 0.12), disc(x + 0.2, y - 0.64, 0.13))
    return [(crescent, BODY), (craters, SHADE)]


def flower(x: Field, y: Field) -> Parts:
    angles = np.arange(6) * (np.pi / 3)
    petals = union(*(disc(x - np.float32(0.62 * np.cos(a)), y - np.float32(0.62 * np.sin(a)), 0.34) for a in angles))
    return [(union(petals, disc(x, y, 0.5)), BODY), (disc(x, y, 0.32), ACCENT)]


def house(x: Field, y: Field) -> Parts:
    return [
        (box(x - 0.46, y + 0.6, 0.13, 0.32, 0.03), BODY),
        (box(x, y - 0.44, 0.74, 0.5, 0.04), BODY),
        (convex(x, y, (0, -0.88), (0.9, 0.0), (-0.9, 0.0), rounding=0.06), ACCENT),
        (box(x + 0.3, y - 0.62, 0.19, 0.33, 0.04), DARK),
        (box(x - 0.3, y - 0.46, 0.22, 0.2, 0.03), LIGHT),
    ]


def tree(x: Field, y: Field) -> Parts:
    crown = union(
        disc(x, y + 0.42, 0.52), disc(x + 0.44, y + 0.04, 0.45), disc(x - 0.44, y + 0.04, 0.45), disc(x, y - 0.02, 0.42)
    )
    fruit = union(disc(x + 0.44, y + 0.0, 0.12), disc(x - 0.06, y + 0.48, 0.12), disc(x - 0.4, y + 0.06, 0.12))
    return [(box(x, y - 0.5, 0.16, 0.47, 0.05), ACCENT), (crown, BODY), (fruit, ACCENT)]


def fish(x: Field, y: Field) -> Parts:
    body = smooth_cut(disc(x - 0.12, y - 0.41, 1.02), disc(x - 0.12, y + 0.41, 1.02), 0.12)
    tail = convex(x, y, (-0.98, -0.46), (-0.5, 0.0), (-0.98, 0.46), rounding=0.07)
    fin = convex(x, y, (-0.1, -0.68), (0.36, -0.45), (-0.26, -0.45), rounding=0.07)
    gill = np.maximum(np.abs(disc(x - 0.9, y, 0.68)) - np.float32(0.06), body)
    return [
        (union(tail, fin), ACCENT),
        (body, BODY),
        (gill, ACCENT),
        (disc(x - 0.56, y + 0.13, 0.15), LIGHT),
        (disc(x - 0.59, y + 0.13, 0.08), DARK),
    ]


@dataclass(frozen=True)
class Shape:
    parts: Callable[[Field, Field], Parts]
    reach: float
    """Radius of a disc about the centre that holds the whole shape."""
    turn: float
    """Largest turn to either side in degrees; half the symmetry where every turn is allowed."""
    mirrored: bool = False


SHAPES = (
    Shape(circle, 0.95, 0),
    Shape(square, 1.13, 45),
    Shape(triangle, 1.19, 60),
    Shape(star, 1.07, 36),
    Shape(heart, 1.15, 30),
    Shape(ring, 0.95, 0),
    Shape(cross, 1.02, 45),
    Shape(moon, 1.08, 40, mirrored=True),
    Shape(flower, 0.96, 30),
    Shape(house, 1.2, 6, mirrored=True),
    Shape(tree, 1.0, 6, mirrored=True),
    Shape(fish, 1.16, 20, mirrored=True),
)
