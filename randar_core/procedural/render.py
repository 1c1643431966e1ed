"""Pictures of shapes: twelve classes in flat colours, drawn from a seed alone.

Class, context and style are drawn separately. A picture's palette, background, light, place, size and turn depend on
(seed, index) and on the bounds of the set only, so the same index under another label is the same scene with another
object in it.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from .scene import FREE, MARGIN, Bounds, Scene, scene
from .sdf import Field, disc, union
from .shapes import BODY, CLASSES, SHAPES, Parts, Shape


@cache
def grid(size: int) -> tuple[Field, Field]:
    """Pixel centres [H, W] in 0…1."""
    centres = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = np.meshgrid(centres, centres)
    x.flags.writeable = y.flags.writeable = False
    return x, y


def smooth(edge_0: float, edge_1: float, field: Field) -> Field:
    t = np.clip((field - np.float32(edge_0)) / np.float32(edge_1 - edge_0), 0, 1)
    return t * t * (3 - 2 * t)


def mix(under: np.ndarray, over: np.ndarray, alpha: Field) -> np.ndarray:
    """`over` [3] or [H, W, 3] on `under`, by `alpha` [H, W]."""
    return under + alpha[..., None] * (over - under)


def wave(field: Field, size: int, period: float) -> Field:
    """0…1 with clean edges: half a period of each."""
    phase = np.abs(field / np.float32(period) % 1 - 0.5) - 0.25
    return np.clip(phase * np.float32(period * size) + 0.5, 0, 1)


def background_of(drawn: Scene, size: int) -> np.ndarray:
    """[H, W, 3] float32."""
    x, y = grid(size)
    first, second = drawn.backgrounds
    # Periods are 1/8 or 1/4 of a side, so a pattern repeats in step with the tokenizer's cells.
    period = (1 / 8, 1 / 4)[drawn.variant % 2]
    low = first + 0.55 * (second - first)
    if drawn.background == "plain":
        return np.broadcast_to(first, (size, size, 3))
    if drawn.background == "linear":
        along = (x - 0.5) * np.float32(np.cos(drawn.angle)) + (y - 0.5) * np.float32(np.sin(drawn.angle))
        return mix(first, second, smooth(-0.6, 0.6, along))
    if drawn.background == "radial":
        return mix(first, second, smooth(0.0, 0.75, np.hypot(x - 0.5, y - 0.5)))
    if drawn.background == "stripes":
        across = (x, y, x + y)[drawn.variant // 2]
        return mix(first, low, wave(across, size, period))
    if drawn.background == "dots":
        distance = disc(x % np.float32(period) - period / 2, y % np.float32(period) - period / 2, 0.27 * period)
        return mix(first, low, np.clip(0.5 - distance * size, 0, 1))
    if drawn.background == "checks":
        odd = (x // np.float32(period) + y // np.float32(period)) % 2
        return mix(first, low, odd)
    ground = 0.74 + 0.035 * np.sin(np.float32(2 * np.pi) * x + np.float32(drawn.angle)).astype(np.float32)
    sky = mix(first, first + 0.25 * (second - first), y)
    return mix(sky, second, np.clip((y - ground) * size + 0.5, 0, 1))


@dataclass(frozen=True)
class Frame:
    """Where the object stands, and its own coordinates."""

    x: float
    y: float
    half: float
    turn: float
    flip: int

    def coordinates(self, size: int, right: float = 0.0, down: float = 0.0) -> tuple[Field, Field]:
        """The object's coordinates [H, W] when it is moved by (right, down) sides of the picture."""
        x, y = grid(size)
        dx, dy = x - np.float32(self.x + right), y - np.float32(self.y + down)
        cos, sin = np.float32(np.cos(self.turn) / self.half), np.float32(np.sin(self.turn) / self.half)
        return (dx * cos + dy * sin) * np.float32(self.flip), dy * cos - dx * sin


def frame_of(drawn: Scene, shape: Shape, bounds: Bounds) -> Frame:
    least, greatest = bounds.half
    half = least + (greatest - least) * drawn.size
    reach = shape.reach * half + MARGIN
    x, y = (reach + at * (1 - 2 * reach) for at in drawn.place)
    flip = -1 if drawn.mirrored and shape.mirrored and bounds.mirrored else 1
    return Frame(x, y, half, np.deg2rad(drawn.turn * min(shape.turn, bounds.turn)), flip)


def silhouette(parts: Parts) -> Field:
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
        raise ValueError(f"label is {label}; the shapes have labels 0 to {len(CLASSES) - 1}")
    drawn, shape = scene(seed, index), SHAPES[label]
    frame = frame_of(drawn, shape, bounds)
    pixels = np.float32(frame.half * size)
    to_light_x, to_light_y = drawn.light

    def moved_from_light(sides: float) -> Field:
        """Distances in sides of the picture to the object, moved away from the light."""
        moved = frame.coordinates(size, -sides * to_light_x, -sides * to_light_y)
        return silhouette(shape.parts(*moved)) * np.float32(frame.half)

    paint = background_of(drawn, size)
    shadow = smooth(0.035, -0.035, moved_from_light(0.045))
    paint = mix(paint, paint * np.float32(0.6), shadow * np.float32(0.55))

    parts = shape.parts(*frame.coordinates(size))
    coverage = np.clip(0.5 - silhouette(parts) * pixels, 0, 1)
    body = np.broadcast_to(drawn.colours[BODY], paint.shape)
    for distance, role in parts:
        body = mix(body, drawn.colours[role], np.clip(0.5 - distance * pixels, 0, 1))
    # Light falls off across the object, and a crescent along its far side lies in shade.
    x, y = grid(size)
    lit = ((x - frame.x) * to_light_x + (y - frame.y) * to_light_y) / np.float32(frame.half)
    body = body + (np.float32(0.16) * np.clip(lit, 0, 1))[..., None] * (1 - body)
    far = smooth(-0.008, 0.012, moved_from_light(-0.15 * frame.half))
    body = body * (1 - np.float32(0.15) * far)[..., None]
    paint = mix(paint, body, coverage)
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
    classes = CLASSES

    def facts(self) -> dict:
        """What must be the same when a training resumes."""
        facts = {"procedural_seed": self.seed, "pictures": self.count, "size": self.size}
        # Left out where they are none, so that trainings from before there were bounds resume.
        return facts | {key: value for key, value in self.bounds.facts().items() if value != FREE.facts()[key]}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        if not 0 <= index < self.count:
            raise IndexError(f"picture {index} of {self.count}")
        return picture(self.seed, index, size=self.size, bounds=self.bounds)
