"""Moods: the colours of a time of day and a weather, which tint everything in a landscape alike."""

from dataclasses import dataclass
from functools import cache

import numpy as np

Colour = np.ndarray
"""[3] or [H, W, 3] float32 in 0…1."""


@cache
def rgb(code: str) -> Colour:
    return np.frombuffer(bytes.fromhex(code), dtype=np.uint8).astype(np.float32) / 255


@dataclass(frozen=True)
class Mood:
    """Colours as RRGGBB. `lit` and `shaded` multiply the colour of a surface that faces the light or lies in shade."""

    name: str
    top: str
    """Of the sky at the top of the scene."""
    middle: str
    horizon: str
    sun: str
    """Of the sun or, at night, the moon."""
    glow: str
    cloud: str
    haze: str
    """What distance fades to."""
    lit: str
    shaded: str
    deep: str
    """Water in the foreground."""
    tone: str
    unity: float
    """Share of `tone` in the colour of the land, which holds a picture together; things have half of it."""
    night: bool

    @property
    def sky(self) -> tuple[str, str, str]:
        """From the top to the horizon."""
        return self.top, self.middle, self.horizon


# A column for each mood, a row for each of its fields.
# fmt: off
TABLE = {
    "name":     (    "noon",  "morning",   "golden",   "sunset",    "night", "moonrise"),
    "top":      (  "4FA8DC",   "7FB5C9",   "F2A65A",   "5B3A78",   "142650",   "25224E"),
    "middle":   (  "8CCBEA",   "BFDCD8",   "F8C877",   "C9547B",   "234878",   "53407C"),
    "horizon":  (  "D9F0F2",   "FBE6C8",   "FDE8B4",   "FDB065",   "4A82A4",   "B5688E"),
    "sun":      (  "FFFBE8",   "FFF8E0",   "FFFBE6",   "FFE9A8",   "F7F3DC",   "FFE3C2"),
    "glow":     (  "FFFFFF",   "FFF0CC",   "FFF2C4",   "FFC978",   "8FB8CC",   "D98BA0"),
    "cloud":    (  "FFFFFF",   "FFF7E8",   "FFEBC2",   "F58A7E",   "3F6A92",   "7A5494"),
    "haze":     (  "B9DEE8",   "D8DFD0",   "F5CF94",   "E58A78",   "3F7098",   "7A5490"),
    "lit":      (  "FFFDF2",   "FFF0D6",   "FFE2A6",   "FFBE98",   "CFE0F4",   "E2BEDA"),
    "shaded":   (  "A3B4DC",   "A8A8C4",   "C08A80",   "84588C",   "4C6AA0",   "5A4A8C"),
    "deep":     (  "1F7FA8",   "3F8798",   "C97B4E",   "5A3A74",   "16386A",   "302A5C"),
    "tone":     (  "6FB6C8",   "9FC4B4",   "D9824A",   "8C3F6B",   "1F4F80",   "4E3570"),
    "unity":    (      0.06,       0.12,       0.22,       0.42,       0.36,       0.46),
    "night":    (     False,      False,      False,      False,       True,       True),
}
# fmt: on
MOODS = tuple(Mood(**dict(zip(TABLE, column, strict=True))) for column in zip(*TABLE.values(), strict=True))

MATERIALS = {
    "grass": rgb("8FBF5A"),
    "leaf": rgb("5E9E4E"),
    "fir": rgb("3E7A5C"),
    "sand": rgb("EDB978"),
    "rock": rgb("8A8FA0"),
    "snow": rgb("F8FBFF"),
    "wall": rgb("FBEBD2"),
    "roof": rgb("DB5A42"),
    "wood": rgb("8A5A44"),
    "stone": rgb("C9BFB4"),
    "slate": rgb("4C6A94"),
    "brick": rgb("C97B5A"),
    "yellow": rgb("F5B93E"),
    "teal": rgb("2E9C9A"),
    "red": rgb("E2503F"),
    "white": rgb("FFFAF0"),
    "dark": rgb("3A3F5C"),
    "window": rgb("FFD978"),
}


LAND = frozenset({"grass", "leaf", "fir", "sand", "rock", "snow"})


def lerp(one: Colour, other: Colour, share: float) -> Colour:
    return one + (other - one) * np.float32(share)


def lit(mood: Mood, material: str, haze: float = 0.0) -> Colour:
    """A surface of `material` that faces the light, by `haze` in 0…1 as far away."""
    return surface(mood, material, rgb(mood.lit), haze)


def shaded(mood: Mood, material: str, haze: float = 0.0) -> Colour:
    """The same in shade."""
    return surface(mood, material, rgb(mood.shaded), haze)


def surface(mood: Mood, material: str, light: Colour, haze: float) -> Colour:
    """The colour of `material` in `light`, toned as the mood has it, then in its haze."""
    toned = mood.unity if material in LAND else 0.5 * mood.unity
    return lerp(lerp(MATERIALS[material] * light, rgb(mood.tone), toned), rgb(mood.haze), haze)
