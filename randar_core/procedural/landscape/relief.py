"""The relief: hills, mountains and dunes, layer by layer."""

import numpy as np

from ..sdf import Field
from .layout import CELL, Layer, Layout, one_of, snap
from .moods import lerp, lit, rgb, shaded
from .painter import Painter


def rolling(x: Field, random: np.random.Generator, spacing: float, height: float) -> Field:
    """[W]: a line of hills about 0, `height` from the lowest to the highest. It has one of four shapes."""
    shift, shape = random.random(2).tolist()
    waves = (x + np.float32(snap(2 * shift))) / np.float32(spacing)
    line = np.sin(2 * np.pi * waves) + 0.5 * np.sin(2 * np.pi * (1.7 * waves + int(4 * shape) / 4))
    return (line * np.float32(height / 3)).astype(np.float32)


def paint_hills(
    painter: Painter, scene: Layout, random: np.random.Generator, layer: Layer, material: str = "grass"
) -> None:
    """A layer of hills about the height of its base, lighter where mist lies at its foot."""
    painter.part = "hills"
    ridge = np.float32(layer.base) + rolling(painter.x[0], random, layer.spacing, layer.height)
    colour = lerp(lit(scene.mood, material, layer.haze), shaded(scene.mood, material, layer.haze), 0.35)
    foot = lerp(colour, rgb(scene.mood.haze), 0.25 * layer.haze + 0.05)
    painter.below(ridge, painter.gradient(layer.base - layer.height / 2, layer.base + 0.25, colour, foot))


def paint_peaks(painter: Painter, scene: Layout, random: np.random.Generator, layer: Layer, snow: float = 0.0) -> None:
    """Mountains with a lit and a shaded face each, and with snow on the upper share `snow`."""
    painter.part = "peaks"
    spacing, base, haze = layer.spacing, layer.base, layer.haze
    start = -spacing * (1 + random.random())
    base = snap(base, CELL / 2)
    drawn = painter.row(random, spacing, int(1.4 / spacing) + 4, 5)
    light, shade = lit(scene.mood, "rock", haze), shaded(scene.mood, "rock", haze)
    white, grey = lit(scene.mood, "snow", haze * 0.5), shaded(scene.mood, "snow", haze * 0.6)
    mist = rgb(scene.mood.haze)
    # The lower ones stand in front.
    for number in sorted(drawn, key=lambda number: -drawn[number][1]):
        shift, tall, steep, bend, cap = drawn[number]
        centre = snap(start + spacing * (number + 0.5 * shift))
        tall = snap(layer.height * (0.6 + 0.4 * tall), CELL / 2)
        steep, bend, cap = 1.0 + 0.2 * one_of(steep, 2), one_of(bend, 3), one_of(cap, 2) / 2
        top, half = base - tall, tall * steep + 0.02
        rows, columns = painter.crop(centre - half, top, centre + half, base + 0.3)
        x, y = painter.x[:, columns] - np.float32(centre), painter.y[rows] - np.float32(top)
        ridge = np.abs(x) / np.float32(steep)
        coverage = np.clip((y - ridge) * np.float32(painter.scale / np.sqrt(1 + 1 / steep**2)) + 0.5, 0, 1)
        # The edge between the faces runs down from the top, winding ever farther.
        fold = y * np.float32(0.16 * (2 * bend - 1)) + 0.14 * y * np.sin(y * 22 + 6 * bend)
        side = np.clip((x - fold) * np.float32(scene.light * painter.scale) + 0.5, 0, 1)[..., None]
        body = shade + side * (light - shade)
        if snow:
            line = tall * snow + 0.035 * np.abs((x * 8 + cap) % 1 * 2 - 1) - 0.0175
            covered = np.clip((line - y) * painter.scale * 0.87 + 0.5, 0, 1)[..., None]
            body = body + covered * (grey + side * (white - grey) - body)
        foot = 0.6 * np.clip((y - tall * 0.5) / (tall * 0.6), 0, 1)[..., None]
        painter.paint(coverage, body + foot * (mist - body), rows, columns)


def paint_dunes(painter: Painter, scene: Layout, random: np.random.Generator, layer: Layer, near: float) -> None:
    """Dunes with a winding crest and a side in shade, away from the light; `near` ones, in 0…1, are darker."""
    painter.part = "dunes"
    spacing, base = layer.spacing, snap(layer.base, CELL / 2)
    x, y = painter.x, painter.y
    light, shade = lit(scene.mood, "sand", layer.haze), shaded(scene.mood, "sand", layer.haze)
    light = lerp(light, shade, 0.3 * near)
    painter.below(painter.level(base), light)
    start = -spacing * (0.5 + random.random())
    for number, (shift, tall, bend) in painter.row(random, spacing, int(1.8 / spacing) + 2, 3).items():
        centre = snap(start + spacing * (number + 0.4 * shift))
        tall, bend = snap(layer.height * (0.6 + 0.4 * tall), CELL / 2), one_of(bend, 2)
        reach = 1.6 * spacing
        rows, columns = painter.crop(centre - reach, base - tall, centre + reach, base + 0.3)
        away = (x[:, columns] - np.float32(centre)) * np.float32(-scene.light)  # positive in shade
        width = np.where(away > 0, np.float32(spacing * 0.34), np.float32(spacing * 0.62))
        ridge = np.float32(base + 0.02) - np.float32(tall + 0.02) * np.exp(-(np.abs(away / width) ** np.float32(1.5)))
        slope = np.gradient(ridge[0]) * painter.scale if ridge.size > 1 else np.zeros(1)
        coverage = np.clip((y[rows] - ridge) * painter.scale / np.sqrt(1 + slope * slope) + 0.5, 0, 1)
        down = np.maximum(y[rows] - np.float32(base - tall), 0)
        crest = (0.5 + 0.5 * bend) * down * 0.8 - 0.05 * np.sin(down * (16 + 6 * bend))
        side = np.clip((away - crest) * painter.scale + 0.5, 0, 1) * np.clip(1 - down / (tall * 1.7), 0, 1) ** 0.5
        painter.paint(coverage, light + side[..., None] * (shade - light), rows, columns)
