"""Pictures in files: reading them as tensors, writing PNGs with their metadata, contact sheets and heat maps."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError, features
from torch import Tensor

from .atomic import atomic_write
from .colour import from_srgb, profile_for, space_of, to_srgb
from .writable import reason_of

# What pictures are read from: Pillow would hand PostScript, whatever its file is named, to another program. It reads
# AVIF from version 11.3 on.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000")
FORMATS += ("AVIF",) if "avif" in features.modules and features.check("avif") else ()


@dataclass(frozen=True)
class Picture:
    """A picture from a file.

    pixels: `[1, 3, H, W]`, or `[1, 4, H, W]` with alpha, in 0…1 and sRGB: what a model reads.
    original: the same shape, with the values of the file.
    profile: the colour profile that `original` is meant in; None for sRGB.
    """

    pixels: Tensor
    original: Tensor
    profile: bytes | None

    def in_profile(self, result: Tensor, left: int = 0, top: int = 0) -> Tensor:
        """What was made of `pixels`, `[3 or 4, H', W']` in sRGB, with the values of the file's profile.

        `left` and `top` say where in the result the picture is. There a pixel that hasn't changed has its original
        values, exactly.
        """
        if self.profile is None:
            return result
        converted = levels_of(from_srgb(to_image(result), self.profile))[0]
        height, width = self.pixels.shape[2:]
        before, after = to_uint8(self.pixels[0]).cpu(), to_uint8(result).cpu()
        region = (..., slice(top, top + height), slice(left, left + width))
        channels = min(len(before), len(after))
        same = (before[:channels] == after[:channels][region]).all(0)
        converted[:channels][region] = torch.where(same, self.original[0, :channels], converted[:channels][region])
        return converted


def to_float(values: Tensor | np.ndarray) -> Tensor:
    """Pixels of uint8, `[…, H, W, C]`, as float32 in 0…1, `[…, C, H, W]`."""
    return rearrange(torch.as_tensor(values), "... h w c -> ... c h w").to(torch.float32) / 255


def to_uint8(pixels: Tensor) -> Tensor:
    """Pixels in 0…1 as uint8; values beyond are clamped."""
    return (pixels.detach().to(torch.float32).clamp(0, 1) * 255).round().to(torch.uint8)


def to_image(pixels: Tensor) -> Image.Image:
    """A picture `[3, H, W]`, or `[4, H, W]` with alpha, in 0…1 as 8-bit RGB or RGBA; values beyond are clamped."""
    return Image.fromarray(rearrange(to_uint8(pixels), "c h w -> h w c").cpu().numpy())


def to_8_bits(image: Image.Image) -> Image.Image:
    """`image`, or one of 8 bits where it holds grey of 16 bits or floats, which Pillow would clip at 255.

    Floats are taken as 0…1, 0…255 or 0…65535, by their largest. Which value stands for transparent, where one does,
    isn't kept. Raises ValueError for floats that are not finite.
    """
    if image.mode == "F":
        values = np.asarray(image)
        if not np.isfinite(values).all():
            raise ValueError("it holds values that are not finite")
        largest = values.max(initial=0)
        white = 1 if largest <= 1 else 255 if largest <= 255 else 65535
        return Image.fromarray((values.clip(0, white) * (255 / white) + 0.5).astype(np.uint8))
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    if image.mode == "I" and values.max(initial=0) <= 255:  # 32 bits, which older versions of Pillow read 16 as
        return image
    return Image.fromarray((values.clip(0, 65535) / 257 + 0.5).astype(np.uint8))


def upright(image: Image.Image) -> Image.Image:
    """`image` in RGB and sRGB, turned as its EXIF says, on white where it is transparent."""
    image, profile = in_own_colours(image, alpha=False)
    return image if profile is None else to_srgb(image, profile)


def in_own_colours(image: Image.Image, alpha: bool) -> tuple[Image.Image, bytes | None]:
    """As `upright`, but with the values of the file, and the RGB profile that they are meant in; None for sRGB.

    With `alpha` it is in RGBA where it has any. Otherwise it is on white: colours that transparency hides mean nothing.
    """
    profile = profile_for(image)
    image = to_8_bits(ImageOps.exif_transpose(image))
    if profile and space_of(profile) != "RGB":  # grey and CMYK have no values in RGB but those of sRGB
        image, profile = to_srgb(image, profile), None
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        if alpha:
            return image, profile
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB"), profile


def levels_of(image: Image.Image) -> Tensor:
    return to_float(np.array(image)[None])


def read_picture(path: str | Path, alpha: bool = False) -> Picture:
    """The picture in a file, upright; with `alpha` its transparency where it has any, otherwise on white.

    Raises FileNotFoundError, and ValueError for a file that isn't a picture or is damaged.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            own, profile = in_own_colours(image, alpha)
            original = levels_of(own)
            return Picture(original if profile is None else levels_of(to_srgb(own, profile)), original, profile)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"There is no file '{path}'.") from error
    except UnidentifiedImageError as error:
        raise ValueError(f"'{path}' is not a picture that can be read. Known: {', '.join(FORMATS)}.") from error
    # Pillow's readers raise nearly anything on damaged files.
    except Exception as error:
        raise ValueError(f"'{path}' can't be read as a picture: {error}.") from error


def read_pixels(path: str | Path, alpha: bool = False) -> Tensor:
    """The pixels of `read_picture` in sRGB, `[1, 3 or 4, H, W]` in 0…1. Raises as it does."""
    return read_picture(path, alpha).pixels


def read_mask(path: str | Path, source: str = "brightness", on_doubt: Callable[[str], None] | None = None) -> Tensor:
    """The picture in a file as a mask `[1, H, W]` in 0…1.

    path: the picture.
    source: "brightness" (transparent pixels are black) or "alpha", where what is transparent marks.
    on_doubt: told which reading was taken where the file could mean either: other programs mark by transparent holes as
        often as by white.

    Raises ValueError for "alpha" where nothing is transparent, and as `read_pixels` does.
    """
    values = read_picture(path, alpha=True).original
    transparent = values.shape[1] == 4 and bool((values[:, 3] < 1).any())
    if source == "alpha":
        if not transparent:
            raise ValueError(f"'{path}' has no transparent pixels, and --mask-from alpha takes these as the mask.")
        return 1 - values[:, 3]
    brightness = values[:, :3].mean(1)
    if not transparent:
        return brightness
    if on_doubt is not None:
        on_doubt(
            f"'{path}' has transparent pixels. Its bright, opaque pixels mark; --mask-from alpha takes the others."
        )
    return brightness * values[:, 3]


def save_png(path: str | Path, pixels: Tensor, metadata: dict | None = None, profile: bytes | None = None) -> None:
    """Write a picture as PNG, whole or not at all. Raises OSError, naming the picture, where it can't be written.

    path: the file.
    pixels: `[3 or 4, H, W]` in 0…1.
    metadata: goes into its `parameters` text as JSON.
    profile: the colour profile that the pixels are meant in; None: sRGB.
    """
    information = PngImagePlugin.PngInfo()
    if metadata:
        information.add_itxt("parameters", json.dumps(metadata, ensure_ascii=False))
    try:
        with atomic_write(path) as temporary:
            to_image(pixels).save(temporary, "PNG", pnginfo=information, icc_profile=profile)
    except OSError as error:
        raise OSError(f"The picture '{path}' can't be written{reason_of(error)}") from error


def read_metadata(path: Path) -> dict | None:
    """The metadata that `save_png` wrote; None where there is no such picture, or none that can be read."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            return json.loads(image.info["parameters"])
    # Of another program, or damaged: Pillow's readers raise nearly anything then.
    except Exception:
        return None


def contact_sheet(pictures: Tensor, columns: int, gap: int = 4) -> Tensor:
    """Pictures `[B, 3, H, W]` as one `[3, H', W']`, row by row, on white."""
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    height, width = pictures.shape[2:]
    size = rows * (height + gap) + gap, columns * (width + gap) + gap
    sheet = torch.ones(3, *size, dtype=torch.float32, device="cpu")
    for index, picture in enumerate(pictures):
        top, left = gap + index // columns * (height + gap), gap + index % columns * (width + gap)
        sheet[:, top : top + height, left : left + width] = picture
    return sheet


# Dark violet, blue, green, yellow: rises evenly in lightness and is told apart by the colour-blind.
HEAT_COLOURS = ((0.27, 0.00, 0.33), (0.23, 0.32, 0.55), (0.13, 0.57, 0.55), (0.37, 0.79, 0.38), (0.99, 0.91, 0.14))


def heat_map(confidence: Tensor, height: int, width: int) -> Tensor:
    """`confidence` `[B, h, w]` in 0…1 (or uint8) as a picture `[B, 3, height, width]`: dark is low, yellow is high.

    Raises ValueError for values that are not finite.
    """
    if confidence.dtype == torch.uint8:
        confidence = confidence.to(torch.float32) / 255
    if not confidence.isfinite().all():
        raise ValueError("A heat map was asked of values that are not finite (NaN or infinite). Give values in 0…1.")
    colours = torch.tensor(HEAT_COLOURS, dtype=torch.float32, device=confidence.device)
    position = confidence.to(torch.float32).clamp(0, 1) * (len(HEAT_COLOURS) - 1)
    lower = position.long().clamp(max=len(HEAT_COLOURS) - 2)
    cells = torch.lerp(colours[lower], colours[lower + 1], (position - lower).unsqueeze(-1))
    return F.interpolate(rearrange(cells, "b h w rgb -> b rgb h w"), (height, width), mode="nearest-exact")
