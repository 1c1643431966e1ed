"""Masks in picture files: which pixels mark, and what is said of how the file was read."""

from pathlib import Path

from torch import Tensor

from ..io.images import read_pixels


def mask_from(path: Path, source: str = "brightness") -> Tensor:
    """The mask `[1, H, W]` in a picture, in 0…1: its brightness, or with `source` "alpha" its transparency.

    Other programs mark by transparent holes as often as by white. Where a file could mean either, this says which
    reading was taken. Raises ValueError for "alpha" where nothing is transparent, and as `read_pixels` does.
    """
    pixels = read_pixels(path, alpha=True)
    transparent = pixels.shape[1] == 4 and bool((pixels[:, 3] < 1).any())
    if source == "alpha":
        if not transparent:
            raise ValueError(f"'{path}' has no transparent pixels, and --mask-from alpha takes these as the mask.")
        return 1 - pixels[:, 3]
    brightness = pixels[:, :3].mean(1)
    if transparent:
        print(f"'{path}' has transparent pixels. Its bright, opaque pixels mark; --mask-from alpha takes the others.")
        brightness = brightness * pixels[:, 3]
    return brightness
