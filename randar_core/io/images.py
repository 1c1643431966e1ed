"""Pictures in files: reading them as tensors, writing PNGs that carry their parameters, contact sheets."""

from __future__ import annotations

import errno
import json
import math
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError, features
from torch import Tensor

from .atomic import atomic_write

# What pictures are read from: Pillow would hand PostScript, whatever its file is named, to another program. It reads
# AVIF from version 11.3 on.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000")
FORMATS += ("AVIF",) if "avif" in features.modules and features.check("avif") else ()


def to_uint8(pixels: Tensor) -> Tensor:
    """Pixels in 0…1 (values beyond are clamped) as uint8."""
    return (pixels.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)


def to_image(pixels: Tensor) -> Image.Image:
    """A picture `[3, H, W]`, or `[4, H, W]` with alpha, in 0…1 (values beyond are clamped) as 8-bit RGB or RGBA."""
    return Image.fromarray(rearrange(to_uint8(pixels), "c h w -> h w c").cpu().numpy())


def to_8_bits(image: Image.Image) -> Image.Image:
    """`image`, or one of 8 bits where it holds 16 of grey: converted by Pillow, all above 255 would be white.

    Which value stands for transparent, where one does, isn't kept.
    """
    if not image.mode.startswith("I"):
        return image
    levels = np.asarray(image)
    if image.mode == "I" and levels.max(initial=0) <= 255:  # 32 bits, which older versions of Pillow read 16 as
        return image
    return Image.fromarray((levels.clip(0, 65535) / 257 + 0.5).astype(np.uint8))


def upright(image: Image.Image, alpha: bool = False) -> Image.Image:
    """`image` in RGB, turned as its EXIF says; with `alpha` in RGBA where it has any.

    Else it is on white where it is transparent: what is hidden there is junk.
    """
    image = to_8_bits(ImageOps.exif_transpose(image))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        if alpha:
            return image
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def to_pixels(image: Image.Image, alpha: bool = False) -> Tensor:
    """An image as `[1, 3, H, W]` in 0…1, `upright`; with `alpha` as `[1, 4, H, W]` where it has one."""
    levels = np.array(upright(image, alpha))
    return rearrange(torch.from_numpy(levels), "h w c -> 1 c h w").float() / 255


def read_pixels(path: str | Path, alpha: bool = False) -> Tensor:
    """The picture in a file as `to_pixels` gives it. Raises FileNotFoundError, ValueError for a file that is none."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            return to_pixels(image, alpha)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"There is no file '{path}'.") from error
    except UnidentifiedImageError as error:
        raise ValueError(f"'{path}' is no picture that can be read.") from error
    # Pillow's readers raise nearly anything on damaged files.
    except Exception as error:
        raise ValueError(f"'{path}' can't be read as a picture: {error}.") from error


def read_mask(path: str | Path) -> Tensor:
    """The picture in a file as a mask `[1, H, W]`: 1 where it is at least half as bright as white, else 0.

    Transparent is black. Nothing between: a JPEG's black is seldom quite black, and the least value above 0 has a
    pixel repainted. Raises as `read_pixels` does.
    """
    pixels = read_pixels(path, alpha=True)
    bright = pixels[:, :3].mean(1)
    return ((bright if pixels.shape[1] == 3 else bright * pixels[:, 3]) >= 0.5).float()


def save_png(path: Path, pixels: Tensor, facts: dict | None = None) -> None:
    """Write a picture `[3 or 4, H, W]` in 0…1, whole or not at all; `facts` go into its `parameters` text as JSON.

    Raises OSError, naming the picture, where it can't be written.
    """
    information = PngImagePlugin.PngInfo()
    if facts:
        information.add_itxt("parameters", json.dumps(facts, ensure_ascii=False))
    try:
        with atomic_write(path) as part:
            to_image(pixels).save(part, "PNG", pnginfo=information)
    except OSError as error:
        raise OSError(f"The picture '{path}' can't be written{reason_of(error)}") from error


def reason_of(error: OSError) -> str:
    """What the system says of a file that can't be written, and what helps where its disk is full."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return f" ({error.strerror or error})." + (" Make room on the disk." if full else "")


def read_metadata(path: Path) -> dict | None:
    """What `save_png` was told of the picture; None where there is no such picture, or none that can be read."""
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
    sheet = torch.ones(3, rows * (height + gap) + gap, columns * (width + gap) + gap)
    for place, picture in enumerate(pictures):
        top, left = gap + place // columns * (height + gap), gap + place % columns * (width + gap)
        sheet[:, top : top + height, left : left + width] = picture
    return sheet


def writable_picture(path: Path) -> Path:
    """`path`, in a folder that is made if need be; ValueError before any work where no PNG can be written there."""
    if path.suffix.lower() != ".png":
        raise ValueError(f"Pictures are written as PNG; '{path.name}' doesn't end in .png. Name another.")
    writable_folder(path.parent)
    return path


def writable_folder(folder: Path) -> Path:
    """`folder`, made if need be; ValueError before any work where nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"Nothing can be written to '{folder}': {error.strerror or error}. Name another.") from error
    return folder


# Dark violet, blue, green, yellow: rises evenly in lightness and is told apart by the colour-blind.
HEAT_COLOURS = ((0.27, 0.00, 0.33), (0.23, 0.32, 0.55), (0.13, 0.57, 0.55), (0.37, 0.79, 0.38), (0.99, 0.91, 0.14))


def heat_map(confidence: Tensor, height: int, width: int) -> Tensor:
    """`confidence` `[B, h, w]` in 0…1 as a picture `[B, 3, height, width]`: dark is low, yellow is high."""
    colours = torch.tensor(HEAT_COLOURS, dtype=torch.float32, device=confidence.device)
    position = confidence.to(torch.float32).clamp(0, 1) * (len(HEAT_COLOURS) - 1)
    lower = position.long().clamp(max=len(HEAT_COLOURS) - 2)
    cells = torch.lerp(colours[lower], colours[lower + 1], (position - lower).unsqueeze(-1))
    return F.interpolate(rearrange(cells, "b h w rgb -> b rgb h w"), (height, width), mode="nearest-exact")
