"""Buildings, each in its own frame: the middle of its foot is (0, 0), its height is 1."""

import numpy as np

from ..sdf import Field, box, convex, disc, union
from .layout import Layout
from .moods import MATERIALS, Colour, lerp, lit, rgb, shaded
from .painter import Painter, Shapes

ACCENTS = ("roof", "slate", "teal")
"""Materials of roofs."""

STRIPES = ("red", "slate", "teal")
"""Materials of a lighthouse's stripes."""


def window_of(scene: Layout) -> Colour:
    return MATERIALS["window"] if scene.mood.night else lerp(shaded(scene.mood, "dark"), rgb(scene.mood.sky[1]), 0.35)


def paint_house(painter: Painter, scene: Layout, x: float, y: float, height: float) -> None:
    painter.part = "house"
    wall, wall_shade = lit(scene.mood, "wall"), shaded(scene.mood, "wall")
    roof, roof_shade = (tint(scene.mood, ACCENTS[scene.accent]) for tint in (lit, shaded))
    brick, door, pane = shaded(scene.mood, "brick"), shaded(scene.mood, "wood"), window_of(scene)

    def house(u: Field, v: Field) -> Shapes:
        # A gable to the light, a long side in shade.
        front = union(box(u - 0.3, v + 0.26, 0.3, 0.26), convex(u, v, (0.3, -0.88), (0.6, -0.52), (0.0, -0.52)))
        side = box(u + 0.32, v + 0.26, 0.32, 0.26)
        slope = convex(u, v, (-0.62, -0.92), (0.3, -0.92), (0.0, -0.48), (-0.72, -0.48))
        verge = convex(u, v, (0.28, -0.94), (0.38, -0.94), (0.7, -0.5), (0.6, -0.44))
        return [
            (box(u + 0.34, v + 0.92, 0.07, 0.17), brick),
            (side, wall_shade),
            (front, wall),
            (slope, roof_shade),
            (convex(u, v, (0.3, -0.92), (0.3, -0.8), (0.04, -0.42), (-0.06, -0.42)), roof),
            (verge, roof),
            (box(u - 0.3, v + 0.17, 0.085, 0.17), door),
            (disc(u - 0.3, v + 0.56, 0.07), pane),
            (box(u + 0.34, v + 0.28, 0.13, 0.1), pane),
        ]

    painter.shapes(x, y, height, (-0.76, -1.12, 0.76, 0.02), house, flip=scene.light)


def paint_lighthouse(painter: Painter, scene: Layout, x: float, y: float, height: float) -> None:
    white, white_shade = lit(scene.mood, "white"), shaded(scene.mood, "white")
    stripe, stripe_shade = (tint(scene.mood, STRIPES[scene.accent]) for tint in (lit, shaded))
    dark, lamp = shaded(scene.mood, "dark"), MATERIALS["window"]

    def lighthouse(u: Field, v: Field) -> Shapes:
        half = 0.095 + 0.075 * (v + 0.76) / 0.76
        tower = np.maximum(np.abs(u) - half, np.maximum(-0.76 - v, v))
        bands = np.maximum(tower, np.abs((v + 0.76) % 0.38 - 0.28) - 0.1)
        shade = u + half * 0.25
        return [
            (tower, white),
            (bands, stripe),
            (np.maximum(tower, shade), white_shade),
            (np.maximum(bands, shade), stripe_shade),
            (box(u, v + 0.77, 0.145, 0.025), dark),
            (box(u, v + 0.835, 0.075, 0.06), lamp),
            (convex(u, v, (0, -1.0), (0.12, -0.89), (-0.12, -0.89)), stripe_shade),
        ]

    if scene.mood.night or scene.mood.name == "sunset":

        def beam(u: Field, v: Field) -> Shapes:
            return [(np.maximum(np.abs(v) - 0.025 - 0.13 * u, -u), rgb(scene.mood.glow))]

        painter.part = "beam"
        painter.shapes(x, y - 0.835 * height, 1.0, (-1.2, -0.4, 1.2, 0.4), beam, flip=-scene.light, opacity=0.3)
    painter.part = "lighthouse"
    painter.shapes(x, y, height, (-0.2, -1.02, 0.2, 0.02), lighthouse, flip=scene.light)


def paint_castle(painter: Painter, scene: Layout, x: float, y: float, height: float) -> None:
    painter.part = "castle"
    stone, stone_shade = lit(scene.mood, "stone"), shaded(scene.mood, "stone")
    middle = lerp(stone, stone_shade, 0.45)
    roof, roof_shade = (tint(scene.mood, ACCENTS[scene.accent]) for tint in (lit, shaded))
    dark, pane = shaded(scene.mood, "dark"), window_of(scene)

    def tower(u: Field, v: Field, at: float, half: float, top: float, spire: float) -> Shapes:
        body = box(u - at, v - top / 2, half, -top / 2)
        cone = convex(u, v, (at, top - spire), (at + half * 1.4, top), (at - half * 1.4, top))
        return [
            (body, stone),
            (np.maximum(body, u - at + half * 0.2), stone_shade),
            (cone, roof),
            (np.maximum(cone, u - at), roof_shade),
        ]

    def castle(u: Field, v: Field) -> Shapes:
        notches = np.maximum(np.abs((u + 0.5) % 0.14 - 0.07) - 0.035, np.maximum(-0.42 - v, v + 0.3))
        wall = np.maximum(union(box(u, v + 0.17, 0.5, 0.17), notches), np.abs(u) - 0.5)
        gate = union(box(u, v + 0.07, 0.085, 0.07), disc(u, v + 0.14, 0.085))
        return [
            *tower(u, v, 0.0, 0.15, -0.66, 0.32),
            (wall, middle),
            *tower(u, v, -0.48, 0.12, -0.5, 0.27),
            *tower(u, v, 0.48, 0.12, -0.5, 0.27),
            (gate, dark),
            (box(u, v + 0.54, 0.045, 0.065, 0.03), pane),
        ]

    painter.shapes(x, y, height, (-0.68, -1.02, 0.68, 0.02), castle, flip=scene.light)
