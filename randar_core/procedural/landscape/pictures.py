"""Pictures of landscapes, drawn from (seed, index, class) alone, as a set to train on."""

from dataclasses import dataclass

import numpy as np

from .layout import CELL, NIGHTS, layout, snap
from .moods import MOODS
from .painter import SCENE, Painter, View
from .painters import CLASSES as PAINTERS
from .painters import OTHER_SCENES, paint_in_other_scene

CLASSES = tuple(PAINTERS)

DRAWING = 2
"""Counts the ways in which a seed's pictures were drawn. In the first, things lay anywhere, not in whole cells."""


def picture(
    seed: int, index: int, label: int | None = None, size: int = 128, view: View = SCENE, scene_class: str | None = None
) -> tuple[np.ndarray, int]:
    """Picture `index` of the endless set `seed`: (uint8 [H, W, 3], label). Labels take turns unless one is given.

    Depends on its arguments alone. Raises ValueError for a label that no class has, for a negative seed or index, and
    for a scene that the class can't stand in.

    view: the part of the scene that it shows, which may lie beyond the whole one.
    scene_class: the class of the scene that a thing stands in, one of `OTHER_SCENES`; None for its own scene.
    """
    painter = Painter(size, view)
    label = paint(painter, seed, index, label, scene_class)
    return painter.picture(), label


def paint(painter: Painter, seed: int, index: int, label: int | None = None, scene_class: str | None = None) -> int:
    """Paint that picture with a `painter` of one's own, and return its label. Raises as `picture` does."""
    if label is None:
        label = index % len(CLASSES)
    if not 0 <= label < len(CLASSES):
        raise ValueError(f"label is {label}; the landscapes have labels 0 to {len(CLASSES) - 1}")
    name = CLASSES[label]
    if scene_class is not None and scene_class not in OTHER_SCENES.get(name, ()):
        raise ValueError(f"'{name}' doesn't stand in the scene '{scene_class}'; see OTHER_SCENES")
    scene = layout(seed, index, NIGHTS if "aurora" in (name, scene_class) else MOODS)
    random = np.random.default_rng((seed, index, label))
    if scene_class is None:
        PAINTERS[name](painter, scene, random)
    else:
        paint_in_other_scene(scene_class, name, painter, scene, random)
    return label


ACROSS, UP_OR_DOWN = 8, 10
"""How many cells a view lies beside the scene, and above it or below it, at most."""


def variation(seed: int, index: int, views: float, foreign_scenes: float) -> tuple[View, str | None]:
    """What a set does to its picture `index`: the view, and the class of the scene where that isn't the thing's own.

    views: share of the pictures that show something else than the whole scene. Two thirds of them lie beside, above or
        below it, where outpainting goes; one third shows a part at twice its size, as enlarged pictures do. About one
        view in twelve shows nothing of its class.
    foreign_scenes: share of the things that stand in scenes of other classes. A model that saw every thing in one scene
        alone doesn't put it into another one.
    """
    viewed, kind, across, up, foreign, which = np.random.default_rng((seed, index, len(CLASSES))).random(6).tolist()
    view, scene_class, scenes = SCENE, None, OTHER_SCENES.get(CLASSES[index % len(CLASSES)])
    if viewed < views and kind < 2 / 3:
        view = View(snap((2 * across - 1) * ACROSS * CELL), snap((2 * up - 1) * UP_OR_DOWN * CELL))
    elif viewed < views:
        view = View(snap(0.5 * across, CELL / 2), snap(0.5 * up, CELL / 2), 0.5)
    if scenes and foreign < foreign_scenes:
        scene_class = scenes[int(which * len(scenes))]
    return view, scene_class


@dataclass(frozen=True)
class Landscapes:
    """The first `count` pictures as a map-style dataset of (uint8 [H, W, 3], label).

    views, foreign_scenes: shares of the pictures that are varied, see `variation`.
    """

    seed: int
    count: int
    size: int = 128
    views: float = 0.0
    foreign_scenes: float = 0.0
    classes = CLASSES

    def facts(self) -> dict:
        """What must be the same when a training resumes."""
        facts = {"landscapes_seed": self.seed, "pictures": self.count, "size": self.size, "drawing": DRAWING}
        return facts | {name: share for name in ("views", "foreign_scenes") if (share := getattr(self, name))}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        if not 0 <= index < self.count:
            raise IndexError(f"picture {index} of {self.count}")
        view, scene_class = variation(self.seed, index, self.views, self.foreign_scenes)
        return picture(self.seed, index, size=self.size, view=view, scene_class=scene_class)
