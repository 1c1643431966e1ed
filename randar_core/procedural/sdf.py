"""Signed distance fields in the plane: one field gives an anti-aliased edge, a soft shadow, a shading and a mask."""

import numpy as np

Field = np.ndarray
"""Signed distances [H, W] float32, negative inside."""


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
