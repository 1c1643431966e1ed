"""Colour profiles (ICC): pictures are stored in many colour spaces, models read sRGB."""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

SAME = 1  # levels of 255 by which a profile may differ from sRGB and still be taken for it
MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # of Pillow, by the colour space of a profile


def profile_for(image: Image.Image) -> bytes | None:
    """The profile that the values of `image` are meant in; None for sRGB, for none, and for one that doesn't fit."""
    content = image.info.get("icc_profile")
    if not content:
        return None
    space = space_of(content)
    colours = tuple(band for band in image.getbands() if band != "A")
    gray, cmyk = colours in (("L",), ("I",)), image.mode == "CMYK"
    fits = {"GRAY": gray, "CMYK": cmyk, "RGB": not gray and not cmyk}
    return content if space and fits[space] and not is_srgb(content) else None


@lru_cache(maxsize=8)
def space_of(content: bytes) -> str | None:
    """The colour space of a profile, a key of MODES; None for another space and for a profile that can't be read."""
    try:
        space = ImageCms.ImageCmsProfile(io.BytesIO(content)).profile.xcolor_space.strip()
        transform(content)
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None
    return space if space in MODES else None


@lru_cache(maxsize=8)
def is_srgb(content: bytes) -> bool:
    """Whether a profile means sRGB. Its description may say so and be wrong, so that colours are compared."""
    if space_of(content) != "RGB":
        return False
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    grid = Image.fromarray(np.stack(np.meshgrid(levels, levels, levels), -1).reshape(27, 27, 3))
    difference = np.asarray(to_srgb(grid, content)).astype(int) - np.asarray(grid)
    return bool(np.abs(difference).max() <= SAME)


@lru_cache(maxsize=8)
def transform(content: bytes, back: bool = False) -> ImageCms.ImageCmsTransform:
    """From a profile to sRGB, or `back`."""
    profile, srgb = ImageCms.ImageCmsProfile(io.BytesIO(content)), ImageCms.createProfile("sRGB")
    mode = MODES.get(profile.profile.xcolor_space.strip(), "RGB")
    ends = ((srgb, "RGB"), (profile, mode)) if back else ((profile, mode), (srgb, "RGB"))
    (source, source_mode), (target, target_mode) = ends
    return ImageCms.buildTransform(
        source,
        target,
        source_mode,
        target_mode,
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def to_srgb(image: Image.Image, content: bytes) -> Image.Image:
    """`image` in sRGB. Alpha stays."""
    alpha = image.getchannel("A") if "A" in image.getbands() else None
    converted = ImageCms.applyTransform(image.convert(MODES[space_of(content)]), transform(content))
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


def from_srgb(image: Image.Image, content: bytes) -> Image.Image:
    """An `image` in sRGB with the values that its colours have in an RGB profile. Alpha stays."""
    alpha = image.getchannel("A") if "A" in image.getbands() else None
    converted = ImageCms.applyTransform(image.convert("RGB"), transform(content, back=True))
    if alpha is not None:
        converted.putalpha(alpha)
    return converted
