"""Moods: the colours of an hour and a weather, which tint everything in a landscape alike."""

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
    """Share of `tone` in the colour of every surface, which holds a picture together."""
    night: bool = False


# fmt: off
MOODS = (
    Mood("noon", ("4FA8DC", "8CCBEA", "D9F0F2"), "FFFBE8", "FFFFFF", "FFFFFF", "B9DEE8", "FFFDF2", "A3B4DC", "1F7FA8",
         "6FB6C8", 0.06),
    Mood("morning", ("7FB5C9", "BFDCD8", "FBE6C8"), "FFF8E0", "FFF0CC", "FFF7E8", "D8DFD0", "FFF0D6", "A8A8C4", "3F8798",
         "9FC4B4", 0.12),
    Mood("golden", ("F2A65A", "F8C877", "FDE8B4"), "FFFBE6", "FFF2C4", "FFEBC2", "F5CF94", "FFE2A6", "C08A80", "C97B4E",
         "D9824A", 0.22),
    Mood("sunset", ("5B3A78", "C9547B", "FDB065"), "FFE9A8", "FFC978", "F58A7E", "E58A78", "FFBE98", "84588C", "5A3A74",
         "8C3F6B", 0.42),
    Mood("dusk", ("27396F", "6C5C9C", "F1A5A0"), "FFEBCF", "F7BCB0", "9A78AE", "A78BB4", "E0B4C8", "6862A0", "2B3C72",
         "4B4A8C", 0.46),
    Mood("night", ("142650", "234878", "4A82A4"), "F7F3DC", "8FB8CC", "3F6A92", "3F7098", "B4CCE8", "4C6AA0", "16386A",
         "1F4F80", 0.36, night=True),
    Mood("mist", ("A9C4C4", "C8DAD4", "E9EEE2"), "FFFFF4", "FFFFF4", "F7F9F2", "D3E0D8", "F0F2E8", "9CB0B8", "5F9096",
         "8FB4AC", 0.2),
    Mood("moonrise", ("25224E", "53407C", "B5688E"), "FFE3C2", "D98BA0", "7A5494", "7A5490", "C29AC8", "5A4A8C", "302A5C",
         "4E3570", 0.46, night=True),
)
# fmt: on

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


def lerp(one: Colour, other: Colour, share) -> Colour:
    return one + (other - one) * np.float32(share)


def lit(mood: Mood, material: str, haze: float = 0.0) -> Colour:
    """A surface of `material` that faces the light, by `haze` in 0…1 as far away."""
    return surface(mood, MATERIALS[material] * rgb(mood.lit), haze, 0.8)


def shaded(mood: Mood, material: str, haze: float = 0.0) -> Colour:
    """The same in shade."""
    return surface(mood, MATERIALS[material] * rgb(mood.shaded), haze, 1.0)


def surface(mood: Mood, colour: Colour, haze: float, share: float) -> Colour:
    return lerp(lerp(colour, rgb(mood.tone), share * mood.unity), rgb(mood.haze), haze)
