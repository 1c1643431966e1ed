"""Procedural pictures: twelve classes in flat colours, drawn from a seed alone.

Class, context and style are drawn apart. A picture's palette, background, light, place, size and turn depend on
(seed, index) and on the bounds of the set only, so the same index under another label is the same scene with another
object in it.

Every shape is a signed distance field in the object's own frame: x to the right, y down, about 1 from the centre to the
farthest side. One field gives the anti-aliased edge, the soft shadow, the shading and the mask.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np

CLASSES = (
    "circle",
    "square",
    "triangle",
    "star",
    "heart",
    "ring",
    "cross",
    "moon",
    "flower",
    "house",
    "tree",
    "fish",
)

Field = np.ndarray
"""Signed distances [H, W] float32, negative inside."""

BODY, ACCENT, LIGHT, DARK, SHADE = range(5)
"""Roles of an object's colours: rows of Scene.colours."""

Parts = list[tuple[Field, int]]
"""What a shape is made of, in the order it is painted: (distances, role of the colour)."""


# --- distances -------------------------------------------------------------------------------------------------------


def disc(x: Field, y: Field, radius: float) -> Field:
    return np.hypot(x, y) - np.float32(radius)


def box(x: Field, y: Field, half_width: float, half_height: float, rounding: float = 0.0) -> Field:
    dx = np.abs(x) - np.float32(half_width - rounding)
    dy = np.abs(y) - np.float32(half_height - rounding)
    outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
    return outside + np.minimum(np.maximum(dx, dy), 0) - np.float32(rounding)


def convex(x: Field, y: Field, *corners: tuple[float, float], rounding: float = 0.0) -> Field:
    """A convex polygon, corners clockwise as seen, grown by `rounding`."""
    squared, side = np.inf, -np.inf
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        ex, ey = np.float32(bx - ax), np.float32(by - ay)
        wx, wy = x - np.float32(ax), y - np.float32(ay)
        along = np.clip((wx * ex + wy * ey) / (ex * ex + ey * ey), 0, 1)
        squared = np.minimum(squared, (wx - ex * along) ** 2 + (wy - ey * along) ** 2)
        side = np.maximum(side, wx * ey - wy * ex)
    return np.sqrt(squared) * np.sign(side) - np.float32(rounding)


def union(*fields: Field) -> Field:
    distance = fields[0]
    for field in fields[1:]:
        distance = np.minimum(distance, field)
    return distance


def smooth_cut(a: Field, b: Field, rounding: float) -> Field:
    """Inside both, with the corner rounded (Quilez, smooth minimum, polynomial)."""
    blend = np.maximum(np.float32(rounding) - np.abs(a - b), 0)
    return np.maximum(a, b) + blend * blend * np.float32(0.25 / rounding)


# --- the twelve classes ----------------------------------------------------------------------------------------------


def circle(x: Field, y: Field) -> Parts:
    return [(disc(x, y, 0.95), BODY)]


def square(x: Field, y: Field) -> Parts:
    return [(box(x, y, 0.84, 0.84, 0.14), BODY)]


def triangle(x: Field, y: Field) -> Parts:
    return [(convex(x, y + 0.06, (0, -0.86), (0.86, 0.66), (-0.86, 0.66), rounding=0.14), BODY)]


def star(x: Field, y: Field) -> Parts:
    """Quilez, regular five-pointed star: fold the plane to one edge of it."""
    radius, inner = np.float32(0.98), np.float32(0.52)
    cos, sin = np.float32(np.cos(np.pi / 5)), np.float32(np.sin(np.pi / 5))
    x, y = np.abs(x), -y
    reflect = 2 * np.maximum(cos * x - sin * y, 0)
    x, y = x - reflect * cos, y + reflect * sin
    reflect = 2 * np.maximum(-cos * x - sin * y, 0)
    x, y = np.abs(x + reflect * cos), y + reflect * sin - radius
    ex, ey = inner * sin, inner * cos - 1
    along = np.clip((x * ex + y * ey) / (ex * ex + ey * ey), 0, radius)
    distance = np.hypot(x - ex * along, y - ey * along) * np.sign(y * ex - x * ey)
    return [(distance - np.float32(0.09), BODY)]


def heart(x: Field, y: Field) -> Parts:
    """Quilez, heart: two half discs on a square that stands on its corner."""
    scale = np.float32(1.6)
    x, y = np.abs(x) / scale, np.float32(0.54) - y / scale
    lobe = np.hypot(x - np.float32(0.25), y - np.float32(0.75)) - np.float32(np.sqrt(2) / 4)
    diagonal = np.maximum(x + y, 0) / 2
    point = np.sqrt(np.minimum(x * x + (y - 1) ** 2, (x - diagonal) ** 2 + (y - diagonal) ** 2)) * np.sign(x - y)
    return [(np.where(x + y > 1, lobe, point) * scale - np.float32(0.06), BODY)]


def ring(x: Field, y: Field) -> Parts:
    return [(np.abs(np.hypot(x, y) - np.float32(0.7)) - np.float32(0.25), BODY)]


def cross(x: Field, y: Field) -> Parts:
    return [(union(box(x, y, 0.96, 0.33, 0.1), box(x, y, 0.33, 0.96, 0.1)), BODY)]


def moon(x: Field, y: Field) -> Parts:
    """Quilez, moon: a disc less a disc, exact about the horns, which are then rounded."""
    x, high = x - np.float32(0.2), np.abs(y)
    outer, inner, apart = np.float32(0.88), np.float32(0.76), np.float32(0.56)
    horn_x = (outer**2 - inner**2 + apart**2) / (2 * apart)
    horn_y = np.sqrt(outer**2 - horn_x**2)
    beyond = x * horn_y - high * horn_x > apart * np.maximum(horn_y - high, 0)
    crescent = np.maximum(disc(x, y, outer), -disc(x - apart, y, inner))
    crescent = np.where(beyond, np.hypot(x - horn_x, high - horn_y), crescent) - np.float32(0.08)
    craters = union(disc(x + 0.58, y - 0.12, 0.17), disc(x + 0.34, y + 0.52, 0.12), disc(x + 0.2, y - 0.64, 0.13))
    return [(crescent, BODY), (craters, SHADE)]


def flower(x: Field, y: Field) -> Parts:
    angles = np.arange(6) * (np.pi / 3)
    petals = union(*(disc(x - np.float32(0.62 * np.cos(a)), y - np.float32(0.62 * np.sin(a)), 0.34) for a in angles))
    return [(union(petals, disc(x, y, 0.5)), BODY), (disc(x, y, 0.32), ACCENT)]


def house(x: Field, y: Field) -> Parts:
    return [
        (box(x - 0.46, y + 0.6, 0.13, 0.32, 0.03), BODY),
        (box(x, y - 0.44, 0.74, 0.5, 0.04), BODY),
        (convex(x, y, (0, -0.88), (0.9, 0.0), (-0.9, 0.0), rounding=0.06), ACCENT),
        (box(x + 0.3, y - 0.62, 0.19, 0.33, 0.04), DARK),
        (box(x - 0.3, y - 0.46, 0.22, 0.2, 0.03), LIGHT),
    ]


def tree(x: Field, y: Field) -> Parts:
    crown = union(
        disc(x, y + 0.42, 0.52), disc(x + 0.44, y + 0.04, 0.45), disc(x - 0.44, y + 0.04, 0.45), disc(x, y - 0.02, 0.42)
    )
    fruit = union(disc(x + 0.44, y + 0.0, 0.12), disc(x - 0.06, y + 0.48, 0.12), disc(x - 0.4, y + 0.06, 0.12))
    return [(box(x, y - 0.5, 0.16, 0.47, 0.05), ACCENT), (crown, BODY), (fruit, ACCENT)]


def fish(x: Field, y: Field) -> Parts:
    body = smooth_cut(disc(x - 0.12, y - 0.41, 1.02), disc(x - 0.12, y + 0.41, 1.02), 0.12)
    tail = convex(x, y, (-0.98, -0.46), (-0.5, 0.0), (-0.98, 0.46), rounding=0.07)
    fin = convex(x, y, (-0.1, -0.68), (0.36, -0.45), (-0.26, -0.45), rounding=0.07)
    gill = np.maximum(np.abs(disc(x - 0.9, y, 0.68)) - np.float32(0.06), body)
    return [
        (union(tail, fin), ACCENT),
        (body, BODY),
        (gill, ACCENT),
        (disc(x - 0.56, y + 0.13, 0.15), LIGHT),
        (disc(x - 0.59, y + 0.13, 0.08), DARK),
    ]


@dataclass(frozen=True)
class Shape:
    parts: Callable[[Field, Field], Parts]
    reach: float
    """Radius of a disc about the centre that holds the whole shape."""
    turn: float
    """Largest turn to either side in degrees; half the symmetry where every turn is allowed."""
    mirrored: bool = False


SHAPES = (
    Shape(circle, 0.95, 0),
    Shape(square, 1.13, 45),
    Shape(triangle, 1.19, 60),
    Shape(star, 1.07, 36),
    Shape(heart, 1.15, 30),
    Shape(ring, 0.95, 0),
    Shape(cross, 1.02, 45),
    Shape(moon, 1.08, 40, mirrored=True),
    Shape(flower, 0.96, 30),
    Shape(house, 1.2, 6, mirrored=True),
    Shape(tree, 1.0, 6, mirrored=True),
    Shape(fish, 1.16, 20, mirrored=True),
)


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
"""Upright, large, and none mirrored: what the built-in model learns last."""


# --- colours ---------------------------------------------------------------------------------------------------------


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


# --- a scene ---------------------------------------------------------------------------------------------------------


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


# --- painting --------------------------------------------------------------------------------------------------------


@cache
def _grid(size: int) -> tuple[Field, Field]:
    """Pixel centres [H, W] in 0…1."""
    centres = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = np.meshgrid(centres, centres)
    x.flags.writeable = y.flags.writeable = False
    return x, y


def _smooth(edge_0: float, edge_1: float, field: Field) -> Field:
    t = np.clip((field - np.float32(edge_0)) / np.float32(edge_1 - edge_0), 0, 1)
    return t * t * (3 - 2 * t)


def _mix(under: np.ndarray, over: np.ndarray, alpha: Field) -> np.ndarray:
    """`over` [3] or [H, W, 3] on `under`, by `alpha` [H, W]."""
    return under + alpha[..., None] * (over - under)


def _wave(field: Field, size: int, period: float) -> Field:
    """0…1 with clean edges: half a period of each."""
    phase = np.abs(field / np.float32(period) % 1 - 0.5) - 0.25
    return np.clip(phase * np.float32(period * size) + 0.5, 0, 1)


def _background(drawn: Scene, size: int) -> np.ndarray:
    """[H, W, 3] float32."""
    x, y = _grid(size)
    first, second = drawn.backgrounds
    # Periods are 1/8 or 1/4 of a side, so a pattern repeats in step with the tokenizer's cells.
    period = (1 / 8, 1 / 4)[drawn.variant % 2]
    low = first + 0.55 * (second - first)
    if drawn.background == "plain":
        return np.broadcast_to(first, (size, size, 3))
    if drawn.background == "linear":
        along = (x - 0.5) * np.float32(np.cos(drawn.angle)) + (y - 0.5) * np.float32(np.sin(drawn.angle))
        return _mix(first, second, _smooth(-0.6, 0.6, along))
    if drawn.background == "radial":
        return _mix(first, second, _smooth(0.0, 0.75, np.hypot(x - 0.5, y - 0.5)))
    if drawn.background == "stripes":
        across = (x, y, x + y)[drawn.variant // 2]
        return _mix(first, low, _wave(across, size, period))
    if drawn.background == "dots":
        distance = disc(x % np.float32(period) - period / 2, y % np.float32(period) - period / 2, 0.27 * period)
        return _mix(first, low, np.clip(0.5 - distance * size, 0, 1))
    if drawn.background == "checks":
        odd = (x // np.float32(period) + y // np.float32(period)) % 2
        return _mix(first, low, odd)
    ground = 0.74 + 0.035 * np.sin(np.float32(2 * np.pi) * x + np.float32(drawn.angle)).astype(np.float32)
    sky = _mix(first, first + 0.25 * (second - first), y)
    return _mix(sky, second, np.clip((y - ground) * size + 0.5, 0, 1))


@dataclass(frozen=True)
class _Frame:
    """Where the object stands, and its own coordinates."""

    x: float
    y: float
    half: float
    turn: float
    flip: int

    def coordinates(self, size: int, right: float = 0.0, down: float = 0.0) -> tuple[Field, Field]:
        """The object's coordinates [H, W] when it is moved by (right, down) sides of the picture."""
        x, y = _grid(size)
        dx, dy = x - np.float32(self.x + right), y - np.float32(self.y + down)
        cos, sin = np.float32(np.cos(self.turn) / self.half), np.float32(np.sin(self.turn) / self.half)
        return (dx * cos + dy * sin) * np.float32(self.flip), dy * cos - dx * sin


def _frame(drawn: Scene, shape: Shape, bounds: Bounds) -> _Frame:
    least, greatest = bounds.half
    half = least + (greatest - least) * drawn.size
    reach = shape.reach * half + MARGIN
    x, y = (reach + at * (1 - 2 * reach) for at in drawn.place)
    flip = -1 if drawn.mirrored and shape.mirrored and bounds.mirrored else 1
    return _Frame(x, y, half, np.deg2rad(drawn.turn * min(shape.turn, bounds.turn)), flip)


def _silhouette(parts: Parts) -> Field:
    return union(*(distance for distance, _ in parts))


def picture_with_mask(
    seed: int, index: int, label: int | None = None, size: int = 128, bounds: Bounds = FREE
) -> tuple[np.ndarray, np.ndarray, int]:
    """As `picture`, with the object's own pixels: (uint8 [H, W, 3], bool [H, W] without the shadow, label).

    Raises ValueError for a label outside 0…11 and for a negative seed or index.
    """
    if label is None:
        label = index % len(CLASSES)
    if not 0 <= label < len(CLASSES):
        raise ValueError(f"label is {label}; the procedural set has labels 0 to {len(CLASSES) - 1}")
    drawn, shape = scene(seed, index), SHAPES[label]
    frame = _frame(drawn, shape, bounds)
    pixels = np.float32(frame.half * size)
    to_light_x, to_light_y = drawn.light

    def moved_from_light(sides: float) -> Field:
        """Distances in sides of the picture to the object, moved away from the light."""
        moved = frame.coordinates(size, -sides * to_light_x, -sides * to_light_y)
        return _silhouette(shape.parts(*moved)) * np.float32(frame.half)

    paint = _background(drawn, size)
    shadow = _smooth(0.035, -0.035, moved_from_light(0.045))
    paint = _mix(paint, paint * np.float32(0.6), shadow * np.float32(0.55))

    parts = shape.parts(*frame.coordinates(size))
    coverage = np.clip(0.5 - _silhouette(parts) * pixels, 0, 1)
    body = np.broadcast_to(drawn.colours[BODY], paint.shape)
    for distance, role in parts:
        body = _mix(body, drawn.colours[role], np.clip(0.5 - distance * pixels, 0, 1))
    # Light falls off across the object, and a crescent along its far side lies in shade.
    x, y = _grid(size)
    lit = ((x - frame.x) * to_light_x + (y - frame.y) * to_light_y) / np.float32(frame.half)
    body = body + (np.float32(0.16) * np.clip(lit, 0, 1))[..., None] * (1 - body)
    far = _smooth(-0.008, 0.012, moved_from_light(-0.15 * frame.half))
    body = body * (1 - np.float32(0.15) * far)[..., None]
    paint = _mix(paint, body, coverage)
    return (np.clip(paint, 0, 1) * 255 + 0.5).astype(np.uint8), coverage > 0.5, label


def picture(
    seed: int, index: int, label: int | None = None, size: int = 128, bounds: Bounds = FREE
) -> tuple[np.ndarray, int]:
    """Picture `index` of the endless set `seed`: (uint8 [H, W, 3], label). Labels take turns unless one is given.

    `size` is the picture's side in pixels; `bounds` say how large the object is and how freely it stands.
    Depends on its arguments alone, never on the pictures drawn before it.
    """
    pixels, _, label = picture_with_mask(seed, index, label, size, bounds)
    return pixels, label


def batch(seed: int, start: int, count: int, size: int = 128, bounds: Bounds = FREE) -> tuple[np.ndarray, np.ndarray]:
    """Pictures start … start + count - 1: (uint8 [B, H, W, 3], labels int64 [B])."""
    drawn = [picture(seed, index, size=size, bounds=bounds) for index in range(start, start + count)]
    return np.stack([pixels for pixels, _ in drawn]), np.array([label for _, label in drawn], dtype=np.int64)


@dataclass(frozen=True)
class Pictures:
    """The first `count` pictures as a map-style dataset of (uint8 [H, W, 3], label)."""

    seed: int
    count: int
    size: int = 128
    bounds: Bounds = FREE

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        if not 0 <= index < self.count:
            raise IndexError(f"picture {index} of {self.count}")
        return picture(self.seed, index, size=self.size, bounds=self.bounds)
