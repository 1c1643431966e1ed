"""What every pixel of a landscape shows: its parts, and the part that its class is known by."""

import numpy as np

from randar_core.procedural.landscape import painters
from randar_core.procedural.landscape.moods import Colour
from randar_core.procedural.landscape.painter import WHOLE, Painter
from randar_core.procedural.landscape.pictures import CLASSES, paint
from randar_core.procedural.sdf import Field

KNOWN_BY = {
    "sea": "water",
    "mountains": "peaks",
    "desert": "dunes",
    "forest": "firs",
    "city": "towers",
    "aurora": "aurora",
    "house": "house",
    "lighthouse": "lighthouse",
    "tree": "tree",
    "sailing boat": "boat",
    "hot-air balloon": "balloon",
    "castle": "castle",
}
"""The part that tells each class from the others."""

THINGS = tuple(CLASSES.index(name) for name in painters.THINGS)
"""The classes of things that stand in a scene, by their ids. The others are scenes."""

THING_PARTS = frozenset(KNOWN_BY[CLASSES[label]] for label in THINGS)
"""The parts whose pieces are told apart."""

SEEN = 0.25
"""The least share of a pixel that a part covers where it counts: what is mirrored in water does, glow doesn't."""

Part = tuple[str, int]
"""A part's name, and for things the number of their piece, in the order in which pieces are painted."""


class PartsPainter(Painter):
    """A painter that notes in `numbers` [H, W] which of its `parts` was the last on each pixel."""

    def __init__(self, size: int):
        super().__init__(size)
        self.parts: list[Part] = [("sky", 0)]
        self.numbers = np.zeros((size, size), dtype=np.int64)
        self.piece = 0

    def shapes(self, *arguments, **settings) -> None:
        self.piece = 0
        super().shapes(*arguments, **settings)
        self.piece = 0

    def paint(self, coverage: Field, colour: Colour, rows: slice = WHOLE, columns: slice = WHOLE) -> None:
        super().paint(coverage, colour, rows, columns)
        part = (self.part, self.piece if self.part in THING_PARTS else 0)
        self.piece += 1
        if part not in self.parts:
            self.parts.append(part)
        under = self.numbers[rows, columns]
        self.numbers[rows, columns] = np.where(coverage > SEEN, self.parts.index(part), under)


def picture_with_parts(
    seed: int, index: int, label: int | None = None, size: int = 128
) -> tuple[np.ndarray, np.ndarray, list[Part], int]:
    """Picture `index` of the landscapes of `seed`: (uint8 [H, W, 3], part numbers [H, W], the `Part`s, label).

    Raises as `picture` does.
    """
    painter = PartsPainter(size)
    label = paint(painter, seed, index, label)
    return painter.picture(), painter.numbers, painter.parts, label


def subject_of(numbers: np.ndarray, parts: list[Part], label: int) -> np.ndarray:
    """The pixels [H, W] bool of the part that the class is known by, all of them."""
    return np.isin(numbers, [number for number, (name, _) in enumerate(parts) if name == KNOWN_BY[CLASSES[label]]])
