"""Pictures of landscapes, drawn from (seed, index, class) alone, as a set to train on."""

from dataclasses import dataclass

import numpy as np

from .layout import CELL, NIGHTS, layout, snap
from .moods import MOODS
from .painter import SCENE, Painter, View
from .painters import CLASSES as PAINTERS
from .painters import other_scenes, paint_in

CLASSES = tuple(PAINTERS)

DRAWING = 2
"""Counts the ways in which a seed's pictures were drawn. In the first, things lay anywhere, not in whole cells."""


def picture(
    seed: int, index: int, label: int | None = None, size: int = 128, view: View = SCENE, place: str | None = None
) -> tuple[np.ndarray, int]:
    """Picture `index` of the endless set `seed`: (uint8 [H, W, 3], label). Labels take turns unless one is given.

    Depends on its arguments alone. Raises ValueError for a label that no class has and for a negative seed or index.

    view: the part of the scene that it shows, which may lie beyond the whole one.
    place: the scene that a thing stands in, one of `other_scenes`; None for its own.
    """
    painter = Painter(size, view)
    label = paint(painter, seed, index, label, place)
    return painter.picture(), label


def paint(painter: Painter, seed: int, index: int, label: int | None = None, place: str | None = None) -> int:
    """Paint that picture with a `painter` of one's own, and return its label. Raises as `picture` does."""
    if label is None:
        label = index % len(CLASSES)
    if not 0 <= label < len(CLASSES):
        raise ValueError(f"label is {label}; the landscapes have labels 0 to {len(CLASSES) - 1}")
    name = CLASSES[label]
    scene = layout(seed, index, NIGHTS if "aurora" in (name, place) else MOODS)
    random = np.random.default_rng((seed, index, label))
    if place is None:
        PAINTERS[name](painter, scene, random)
    else:
        paint_in(place, name, painter, scene, random)
    return label


MOST_ACROSS, MOST_UP = 8, 10
"""How many cells a view lies beside the scene, above it or below it at most."""


def rest_of(seed: int, index: int) -> list[float]:
    """Uniform numbers for what a set does to some of its pictures."""
    return np.random.default_rng((seed, index, len(CLASSES))).random(6).tolist()


def other_view(seed: int, index: int, share: float) -> View:
    """What picture `index` shows where a `share` of the pictures shows something else than the whole scene.

    Two thirds of them lie beside, above or below it, where outpainting goes; one third shows a part at twice its size,
    as enlarged pictures do.
    """
    shown, kind, across, up = rest_of(seed, index)[:4]
    if shown >= share:
        return SCENE
    if kind < 2 / 3:
        return View(snap((2 * across - 1) * MOST_ACROSS * CELL), snap((2 * up - 1) * MOST_UP * CELL))
    return View(snap(0.5 * across, CELL / 2), snap(0.5 * up, CELL / 2), 0.5)


def other_scene(seed: int, index: int, share: float) -> str | None:
    """The scene that the thing of picture `index` stands in where a `share` of the things stands in other scenes.

    None for its own. A model that saw every thing in one scene alone doesn't put it into another one.
    """
    scenes = other_scenes(CLASSES[index % len(CLASSES)])
    stands, which = rest_of(seed, index)[4:]
    return scenes[int(which * len(scenes))] if scenes and stands < share else None


@dataclass(frozen=True)
class Landscapes:
    """The first `count` pictures as a map-style dataset of (uint8 [H, W, 3], label).

    views: share of the pictures that show another part of their scene than the whole, see `other_view`. Its thing may
    be cut or missing there, so few of them are enough.
    foreign: share of the things that stand in the scene of another class, see `other_scene`.
    """

    seed: int
    count: int
    size: int = 128
    views: float = 0.0
    foreign: float = 0.0
    classes = CLASSES

    def facts(self) -> dict:
        """What must be the same when a training resumes."""
        facts = {"landscapes_seed": self.seed, "pictures": self.count, "size": self.size, "drawing": DRAWING}
        return facts | {name: share for name in ("views", "foreign") if (share := getattr(self, name))}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        if not 0 <= index < self.count:
            raise IndexError(f"picture {index} of {self.count}")
        view, place = other_view(self.seed, index, self.views), other_scene(self.seed, index, self.foreign)
        return picture(self.seed, index, size=self.size, view=view, place=place)
