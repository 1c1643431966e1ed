"""What floats: sailing boats and hot-air balloons."""

import numpy as np

from ..sdf import Field, box, convex, disc
from .layout import Layout
from .moods import lerp, lit, rgb, shaded
from .painter import Painter, Shapes

SAILS = (("white", "red"), ("red", "white"), ("yellow", "teal"))
GORES = (("red", "white"), ("yellow", "teal"), ("slate", "yellow"))


def paint_boat(painter: Painter, scene: Layout, x: float, y: float, height: float, haze: float = 0.0) -> None:
    """A sailing boat whose waterline is at y, with its mirror image."""
    painter.part = "boat"
    main, fore = SAILS[scene.accent]
    sail, jib = lit(scene.mood, main, haze), lerp(lit(scene.mood, fore, haze), shaded(scene.mood, fore, haze), 0.3)
    sail_shade = lerp(sail, shaded(scene.mood, main, haze), 0.6)
    hull, trim = shaded(scene.mood, "wood", haze), lit(scene.mood, "white", haze)

    def boat(u: Field, v: Field) -> Shapes:
        mainsail = convex(u, v, (-0.03, -1.0), (-0.03, -0.22), (-0.44, -0.22))
        return [
            (box(u, v + 0.55, 0.026, 0.45), hull),
            (mainsail, sail_shade),
            (np.maximum(mainsail, u + 0.03 + (v + 1.0) * 0.22), sail),
            (convex(u, v, (0.05, -0.9), (0.4, -0.22), (0.05, -0.22)), jib),
            (convex(u, v, (-0.5, -0.17), (0.52, -0.17), (0.36, 0.03), (-0.36, 0.03)), hull),
            (convex(u, v, (-0.5, -0.17), (0.52, -0.17), (0.48, -0.11), (-0.46, -0.11)), trim),
        ]

    def mirrored(u: Field, v: Field) -> Shapes:
        return boat(u, -v * 1.25)

    painter.shapes(x, y, height, (-0.56, 0.02, 0.56, 0.8), mirrored, flip=-scene.light, opacity=0.28)
    painter.shapes(x, y, height, (-0.56, -1.02, 0.56, 0.05), boat, flip=-scene.light)


def paint_balloon(painter: Painter, scene: Layout, x: float, y: float, height: float, turn: int = 0) -> None:
    """A hot-air balloon, (x, y) the middle of its height."""
    painter.part = "balloon"
    one, other = GORES[(scene.accent + turn) % len(GORES)]
    colours = [lit(scene.mood, one), lit(scene.mood, other)]
    shades = [shaded(scene.mood, one), shaded(scene.mood, other)]
    wood, rope = shaded(scene.mood, "wood"), lerp(shaded(scene.mood, "wood"), rgb(scene.mood.haze), 0.2)

    def balloon(u: Field, v: Field) -> Shapes:
        round_part = disc(u, v + 0.17, 0.33)
        # From the disc the sides run straight down to the burner.
        cone = np.maximum(np.abs(u) - (0.315 - 0.92 * np.maximum(v + 0.05, 0)), np.maximum(-0.08 - v, v - 0.26))
        envelope = np.minimum(round_part, cone * np.float32(0.74))
        half = np.sqrt(np.maximum(0.33**2 - (v + 0.17) ** 2, 1e-6))
        half = np.where(v > -0.05, np.maximum(0.315 - 0.92 * (v + 0.05), 0.02), half)
        across = u / half
        parts = [(np.abs(u) - 0.03 + (np.abs(v - 0.32) > 0.08) * 1.0, rope), (envelope, colours[0])]
        width = 0.33
        for low, high in ((-0.62, -0.22), (0.22, 0.62)):
            band = np.maximum(np.maximum(low - across, across - high) * width, envelope)
            parts.append((band, colours[1]))
        parts.append((np.maximum(envelope, (across + 0.62) * width), shades[0]))
        parts.append((np.maximum(envelope, np.maximum((across + 0.22) * width, (-0.62 - across) * width)), shades[1]))
        parts.append((box(u, v - 0.43, 0.075, 0.06, 0.015), wood))
        return parts

    painter.shapes(x, y, height, (-0.36, -0.52, 0.36, 0.52), balloon, flip=scene.light)
