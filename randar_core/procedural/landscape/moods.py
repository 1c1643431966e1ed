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
    """`lit` and `shaded` multiply the colour of a surface that faces the light or lies in shade."""

    name: str
    sky: tuple[str, str, str]
    """From the top to the horizon."""
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
    night: bool = False


MOODS = (
    Mood(
        "noon",
        sky=("4FA8DC", "8CCBEA", "D9F0F2"),
        sun="FFFBE8",
        glow="FFFFFF",
        cloud="FFFFFF",
        haze="B9DEE8",
        lit="FFFDF2",
        shaded="A3B4DC",
        deep="1F7FA8",
        tone="6FB6C8",
        unity=0.06,
    ),
    Mood(
        "morning",
        sky=("7FB5C9", "BFDCD8", "FBE6C8"),
        sun="FFF8E0",
        glow="FFF0CC",
        cloud="FFF7E8",
        haze="D8DFD0",
        lit="FFF0D6",
        shaded="A8A8C4",
        deep="3F8798",
        tone="9FC4B4",
        unity=0.12,
    ),
    Mood(
        "golden",
        sky=("F2A65A", "F8C877", "FDE8B4"),
        sun="FFFBE6",
        glow="FFF2C4",
        cloud="FFEBC2",
        haze="F5CF94",
        lit="FFE2A6",
        shaded="C08A80",
        deep="C97B4E",
        tone="D9824A",
        unity=0.22,
    ),
    Mood(
        "sunset",
        sky=("5B3A78", "C9547B", "FDB065"),
        sun="FFE9A8",
        glow="FFC978",
        cloud="F58A7E",
        haze="E58A78",
        lit="FFBE98",
        shaded="84588C",
        deep="5A3A74",
        tone="8C3F6B",
        unity=0.42,
    ),
    Mood(
        "night",
        sky=("142650", "234878", "4A82A4"),
        sun="F7F3DC",
        glow="8FB8CC",
        cloud="3F6A92",
        haze="3F7098",
        lit="CFE0F4",
        shaded="4C6AA0",
        deep="16386A",
        tone="1F4F80",
        unity=0.36,
        night=True,
    ),
    Mood(
        "moonrise",
        sky=("25224E", "53407C", "B5688E"),
        sun="FFE3C2",
        glow="D98BA0",
        cloud="7A5494",
        haze="7A5490",
        lit="E2BEDA",
        shaded="5A4A8C",
        deep="302A5C",
        tone="4E3570",
        unity=0.46,
        night=True,
    ),
)

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
