"""Pictures of landscapes, drawn from (seed, index, class) alone, as a set to train on."""

from dataclasses import dataclass

import numpy as np

from .layout import NIGHTS, layout
from .moods import MOODS
from .painter import Painter
from .painters import CLASSES as PAINTERS

CLASSES = tuple(PAINTERS)

DRAWING = 2
"""Counts the ways in which a seed's pictures were drawn. In the first, things lay anywhere, not in whole cells."""


def picture(seed: int, index: int, label: int | None = None, size: int = 128) -> tuple[np.ndarray, int]:
    """Picture `index` of the endless set `seed`: (uint8 [H, W, 3], label). Labels take turns unless one is given.

    Depends on its arguments alone. Raises ValueError for a label that no class has and for a negative seed or index.
    """
    painter = Painter(size)
    label = paint(painter, seed, index, label)
    return painter.picture(), label


def paint(painter: Painter, seed: int, index: int, label: int | None = None) -> int:
    """Paint that picture with a `painter` of one's own, and return its label. Raises as `picture` does."""
    if label is None:
        label = index % len(CLASSES)
    if not 0 <= label < len(CLASSES):
        raise ValueError(f"label is {label}; the landscapes have labels 0 to {len(CLASSES) - 1}")
    name = CLASSES[label]
    scene = layout(seed, index, NIGHTS if name == "aurora" else MOODS)
    PAINTERS[name](painter, scene, np.random.default_rng((seed, index, label)))
    return label


@dataclass(frozen=True)
class Landscapes:
    """The first `count` pictures as a map-style dataset of (uint8 [H, W, 3], label)."""

    seed: int
    count: int
    size: int = 128
    classes = CLASSES

    def facts(self) -> dict:
        """What must be the same when a training resumes."""
        return {"landscapes_seed": self.seed, "pictures": self.count, "size": self.size, "drawing": DRAWING}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        if not 0 <= index < self.count:
            raise IndexError(f"picture {index} of {self.count}")
        return picture(self.seed, index, size=self.size)
