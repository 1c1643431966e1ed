"""What is free in a landscape: all that does not depend on its class."""

from dataclasses import dataclass

import numpy as np

from .moods import MOODS, Mood


@dataclass(frozen=True)
class Layout:
    """Lengths and places are in sides of the scene, y down; shares are in 0…1."""

    mood: Mood
    horizon: float
    sun: tuple[float, float]
    """Centre of the sun or the moon."""
    sun_radius: float
    """0 where it does not show."""
    light: float
    """-1 where the light comes from the left, 1 from the right."""
    clouds: tuple[tuple[float, float, float], ...]
    """Of each cloud its centre and half its length. One may be above the scene, where only some views show it."""
    haze: float
    """Share of the haze in the farthest layer."""
    far: int
    """0 plain sky, 1 hills, 2 mountains behind everything."""
    place: float
    """Of the main thing, in the room that there is."""
    scale: float
    """Size of things, in the sizes that there are: 0, 0.5 or 1."""
    others: float
    """How many other things there are, in the numbers that there are."""
    accent: int
    """Which colours things have, 0…2."""


@dataclass(frozen=True)
class Layer:
    """One of the layers of a relief, a wood or a skyline. Lengths are in sides of the scene."""

    base: float
    """Height of its foot, measured downwards from the top of the scene."""
    spacing: float
    """From one summit, tree or tower to the next, on average."""
    height: float
    """Of the highest."""
    haze: float = 0.0
    """Share of the haze in its colours: 0 in the foreground."""


HAZES = (0.45, 0.7)
"""In clear and in misty air. There are few, as there are few moods: a small model has no room for more colours."""

CELL = 1 / 16
"""Side of a cell of tokens of the built-in model, which draws this set.

Places are whole numbers of cells or of half ones, and sizes are few. The eye doesn't see it. But a thing that may lie
anywhere looks different in its cells each time, more often than a small codebook has codes for, and comes out soft.
"""

NIGHTS = tuple(mood for mood in MOODS if mood.night)


def snap(length: float, step: float = CELL) -> float:
    """The whole number of steps that is nearest to `length`."""
    return round(length / step) * step


def one_of(share: float, count: int) -> float:
    """One of `count` values at even distances from 0 to 1, chosen by a random number `share` in 0…1."""
    return int(share * count) / (count - 1)


def layout(seed: int, index: int, moods: tuple[Mood, ...] = MOODS) -> Layout:
    """The layout of picture `index`, with one of `moods`."""
    # One vector of uniform numbers: what one of them means never changes what the others are.
    drawn = np.random.default_rng((seed, index)).random(24).tolist()
    mood, horizon, sun_x, sun_y, sun_size, sun_shows, haze, far, place, scale, others, accent = drawn[:12]
    horizon = snap(0.5 + 0.16 * horizon, CELL / 2)
    sun_x = snap(-0.4 + 1.8 * sun_x)
    clouds = tuple(
        (snap(x * 1.2 - 0.1), snap(0.1 + 0.24 * number + 0.1 * y), (0.15, 0.2, 0.25)[int(3 * length)])
        for number, (shows, x, y, length) in ((0, drawn[12:16]), (1, drawn[16:20]), (-2, drawn[20:]))
        if shows < 0.6
    )
    return Layout(
        mood=moods[int(mood * len(moods))],
        horizon=horizon,
        sun=(sun_x, snap(0.14 + (horizon - 0.2) * sun_y)),
        sun_radius=(0.0625, 0.09)[int(2 * sun_size)] if sun_shows < 0.85 else 0.0,
        light=-1.0 if sun_x < 0.5 else 1.0,
        clouds=clouds,
        haze=HAZES[int(haze * len(HAZES))],
        far=int(far * 3),
        place=place,
        scale=one_of(scale, 3),
        others=others,
        accent=int(accent * 3),
    )
