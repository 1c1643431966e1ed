"""A canvas that layers and shapes are painted on, from the sky to the foreground."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np

from ..sdf import Field
from .moods import Colour


@cache
def pixel_centres(size: int) -> Field:
    """[size] in 0…1."""
    centres = (np.arange(size, dtype=np.float32) + 0.5) / size
    centres.flags.writeable = False
    return centres


def smooth(edge_0: float, edge_1: float, field: Field) -> Field:
    t = np.clip((field - np.float32(edge_0)) / np.float32(edge_1 - edge_0), 0, 1)
    return t * t * (3 - 2 * t)


WHOLE = slice(None)

Shapes = Iterable[tuple[Field, Colour]]
"""Distances in the units of the shape's own frame, and a colour, in the order they are painted."""


@dataclass(frozen=True)
class View:
    """The square of a scene that a picture shows. Lengths are in sides of the scene, y down."""

    left: float = 0.0
    top: float = 0.0
    side: float = 1.0

    @property
    def right(self) -> float:
        return self.left + self.side

    @property
    def bottom(self) -> float:
        return self.top + self.side


SCENE = View()


class Painter:
    """`pixels` [H, W, 3] float32, of the part of a scene in `view`. Coordinates are in sides of the scene, y down."""

    part = "sky"
    """What is being painted, in a word. A function that paints a whole layer or thing sets it."""

    def __init__(self, size: int, view: View = SCENE):
        self.size, self.view = size, view
        self.scale = size / view.side  # pixels a side of the scene
        centres = pixel_centres(size) * np.float32(view.side)
        self.x, self.y = (np.float32(view.left) + centres)[None, :], (np.float32(view.top) + centres)[:, None]
        self.pixels = np.zeros((size, size, 3), dtype=np.float32)

    def picture(self) -> np.ndarray:
        """uint8 [H, W, 3]: what is painted."""
        return (np.clip(self.pixels, 0, 1) * 255 + 0.5).astype(np.uint8)

    def crop(self, left: float, top: float, right: float, bottom: float) -> tuple[slice, slice]:
        """Rows and columns of the pixels in a box."""
        top, bottom, left, right = (
            int(np.clip(np.floor((at - start) * self.scale) + beyond, 0, self.size))
            for at, start, beyond in (
                (top, self.view.top, -1),
                (bottom, self.view.top, 2),
                (left, self.view.left, -1),
                (right, self.view.left, 2),
            )
        )
        return slice(top, bottom), slice(left, right)

    def below(self, ridge: Field, colour: Colour) -> None:
        """Paint all below `ridge` [W], heights of a line from left to right, with `colour` [3] or [H, 1, 3]."""
        rows, columns = self.crop(self.view.left, float(ridge.min()), self.view.right, self.view.bottom)
        # The distance to a slope is shorter than that straight down.
        slope = np.gradient(ridge) * self.scale
        coverage = np.clip((self.y[rows] - ridge) * self.scale / np.sqrt(1 + slope * slope) + np.float32(0.5), 0, 1)
        self.paint(coverage, colour[rows] if colour.ndim == 3 else colour, rows, columns)

    def level(self, height: float) -> Field:
        """[W]: a line at one height, as `below` takes it."""
        return np.full(self.size, height, dtype=np.float32)

    def beside(self, spacing: float) -> tuple[int, int]:
        """How many more things at this spacing the view needs to the left of the scene and to the right of it."""
        left, right = max(0.0, -self.view.left), max(0.0, self.view.right - 1.0)
        return math.ceil(left / spacing), math.ceil(right / spacing)

    def row(self, random: np.random.Generator, spacing: float, count: int, fields: int) -> dict[int, list[float]]:
        """Uniform numbers, `fields` of them, for each thing of a row, by its number from left to right.

        The `count` things of the scene are numbered from 0. Those that the view shows beside it have numbers below and
        above, and take nothing from `random`: the scene is the same in every view.
        """
        drawn = dict(enumerate(random.random((count, fields)).tolist()))
        more = self.beside(spacing)
        if any(more):
            left, right = (each.random((n, fields)).tolist() for each, n in zip(random.spawn(2), more, strict=True))
            drawn |= {-1 - number: numbers for number, numbers in enumerate(left)}
            drawn |= {count + number: numbers for number, numbers in enumerate(right)}
        return dict(sorted(drawn.items()))

    def paint(self, coverage: Field, colour: Colour, rows: slice = WHOLE, columns: slice = WHOLE) -> None:
        under = self.pixels[rows, columns]
        self.pixels[rows, columns] = under + coverage[..., None].astype(np.float32) * (colour - under)

    def gradient(self, top: float, bottom: float, upper: Colour, lower: Colour) -> Colour:
        """[H, 1, 3]: `upper` at the height `top`, `lower` at `bottom`."""
        share = np.clip((self.y - np.float32(top)) / np.float32(bottom - top), 0, 1)
        return upper + share[..., None] * (lower - upper)

    def shapes(
        self,
        x: float,
        y: float,
        unit: float,
        extent: tuple[float, float, float, float],
        draw: Callable[[Field, Field], Shapes],
        flip: float = 1.0,
        opacity: float = 1.0,
    ) -> None:
        """Paint shapes in a frame of their own, whose origin is (x, y) and whose unit is `unit` sides.

        `extent` (left, top, right, bottom) holds them all, in that frame; `flip` of -1 mirrors them.
        """
        reach = max(-extent[0], extent[2]) * unit
        rows, columns = self.crop(x - reach, y + extent[1] * unit, x + reach, y + extent[3] * unit)
        u = (self.x[:, columns] - np.float32(x)) * np.float32(flip / unit)
        v = (self.y[rows] - np.float32(y)) / np.float32(unit)
        u, v = np.broadcast_arrays(u, v)
        if not u.size:
            return
        for distance, colour in draw(u, v):
            coverage = np.clip(0.5 - distance * np.float32(unit * self.scale), 0, 1) * np.float32(opacity)
            self.paint(coverage, colour, rows, columns)
