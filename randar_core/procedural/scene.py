"""All of a picture of a shape that does not depend on its class: palette, background, light, place, size and turn."""

from dataclasses import asdict, dataclass

import numpy as np

MARGIN = 0.015
"""Room, in sides of the picture, that is left around an object."""

LARGEST_HALF = 0.4
"""Half the extent of the largest object that a picture has room for: `SHAPES` reach up to 1.2 of it, see `_frame`."""


@dataclass(frozen=True)
class Bounds:
    """How large objects are and how freely they stand.

    Palette, background and light don't depend on it, the place only by the room that an object leaves. Raises
    ValueError for sizes that no picture has room for and for turns that are none.
    """

    turn: float = 180.0
    """Most that an object is turned to either side, in degrees; never more than its shape may be."""
    half: tuple[float, float] = (0.23, 0.37)
    """Least and greatest of half an object's extent, in sides of the picture."""
    mirrored: bool = True
    """Whether moons, houses, trees and fish face either way."""

    def __post_init__(self):
        least, greatest = self.half
        if not 0.05 <= least <= greatest <= LARGEST_HALF:
            raise ValueError(
                f"The extent of objects must lie between 0.1 and {2 * LARGEST_HALF:g} sides of the picture, the lesser "
                f"first; got {2 * least:g} to {2 * greatest:g}."
            )
        if not self.turn >= 0:
            raise ValueError(f"The largest turn is {self.turn}; it must be 0 degrees or more.")

    def facts(self) -> dict:
        """What the bounds are, as JSON has it."""
        return asdict(self) | {"half": list(self.half)}


FREE, UPRIGHT = Bounds(), Bounds(turn=15.0)
"""As far turned as each shape may be; or so little that every shape stands as it is known (no square on a corner)."""

PORTRAIT = Bounds(turn=15.0, half=(0.3, 0.4), mirrored=False)
"""Upright, large, and none mirrored."""


@dataclass(frozen=True)
class Palette:
    backgrounds: tuple[str, str]
    objects: tuple[tuple[str, str], ...]
    """Pairs of body and accent; each colour stands out against both backgrounds."""
    light: str
    dark: str


PALETTES = (
    # meadow, sky, peach, sand, lilac, rose, mint
    Palette(
        ("E9F4DA", "CBE5B0"), (("E4572E", "2B4B7E"), ("2778A8", "F08A24"), ("7A4A9E", "EF6C4D")), "FFF8E7", "2B2D42"
    ),
    Palette(
        ("DDF0FC", "B4DBF4"), (("F0544F", "2B4C84"), ("F09A1A", "C2473C"), ("2B5C94", "F2764E")), "FFFDF5", "22304A"
    ),
    Palette(
        ("FEEBDC", "FACFB2"), (("1F968A", "D9572F"), ("D03F57", "44406E"), ("3B5284", "DF6630")), "FFFAF0", "33304A"
    ),
    Palette(
        ("F8EFD8", "ECD9A9"), (("C94F36", "2B4F63"), ("1C7589", "D4682A"), ("5A8A3C", "8A4B2A")), "FFFBF0", "30302E"
    ),
    Palette(
        ("EFE8F9", "D2C2EC"), (("7A35BD", "EE5F7C"), ("E5546F", "5B2A8C"), ("178A7E", "D84A78")), "FFF9F2", "2F2347"
    ),
    Palette(
        ("FDE6EC", "F7BFCF"), (("C81E50", "4A2A5E"), ("35619A", "DB4A72"), ("258A66", "8C2F5E")), "FFFAF5", "3A2438"
    ),
    Palette(
        ("DDF4E9", "A9DFC9"), (("EC605D", "3F4A86"), ("565A9C", "EB8438"), ("E39A1C", "B5503A")), "FFFCF2", "24403C"
    ),
    # night, lagoon, plum
    Palette(
        ("1F3158", "31497E"), (("FFC94F", "FF7D68"), ("FF7D68", "FFD27A"), ("84D2EA", "F79AB5")), "FFF8E7", "17223E"
    ),
    Palette(
        ("0E4959", "1B6A7C"), (("FFD35E", "FB8668"), ("FB8668", "FFE3A0"), ("B4EBC6", "FFC65E")), "FFF8E7", "0B3340"
    ),
    Palette(
        ("402449", "5F3A70"), (("FFB45E", "FF86A0"), ("FF86A0", "FFD08A"), ("98E6CB", "FFC27A")), "FFF5EC", "2A1533"
    ),
)


def rgb(code: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(code), dtype=np.uint8).astype(np.float32) / 255


BACKGROUNDS = ("plain", "linear", "radial", "stripes", "dots", "checks", "hills")


@dataclass(frozen=True)
class Scene:
    """All of a picture except its class and what bounds its object. Colours are [3] float32 in 0…1."""

    background: str
    backgrounds: np.ndarray
    """[2, 3]: the two colours of the background."""
    colours: np.ndarray
    """[5, 3]: the object's colours by role."""
    size: float
    """In 0…1 of the sizes that are allowed."""
    place: tuple[float, float]
    """The object's centre in 0…1 of the room its reach leaves."""
    turn: float
    """In -1…1 of the largest turn that is allowed."""
    mirrored: bool
    light: tuple[float, float]
    """Unit vector towards the light."""
    angle: float
    """Of a gradient, in radians."""
    variant: int
    """In 0…5: direction and period of a pattern."""


def scene(seed: int, index: int) -> Scene:
    """The scene of picture `index`; the same for every class."""
    # One vector of uniform numbers: neither the class nor the background changes what the others are drawn from.
    (
        palette_at,
        object_at,
        background_at,
        size,
        place_x,
        place_y,
        turn,
        mirror,
        light_at,
        angle,
        variant,
        swap,
        *jitter,
    ) = np.random.default_rng((seed, index)).random(18)
    palette = PALETTES[int(palette_at * len(PALETTES))]
    body, accent = (rgb(code) for code in palette.objects[int(object_at * len(palette.objects))])
    backgrounds = np.stack([rgb(code) for code in palette.backgrounds])
    if swap < 0.5:
        backgrounds = backgrounds[::-1]
    jitter = (np.array(jitter, dtype=np.float32).reshape(2, 3) - 0.5) * 0.05
    light = np.array([(light_at - 0.5) * 2, -0.9])
    light /= np.hypot(*light)
    return Scene(
        background=BACKGROUNDS[int(background_at * len(BACKGROUNDS))],
        backgrounds=np.clip(backgrounds + jitter[0], 0, 1),
        colours=np.clip(np.stack([body, accent, rgb(palette.light), rgb(palette.dark), body * 0.82]) + jitter[1], 0, 1),
        size=size,
        place=(place_x, place_y),
        turn=2 * turn - 1,
        mirrored=mirror < 0.5,
        light=(float(light[0]), float(light[1])),
        angle=2 * np.pi * angle,
        variant=int(variant * 6),
    )
