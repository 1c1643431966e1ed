"""Between ComfyUI's LATENT and the canvas: what a sampler starts from and what it hands on."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..randar_core.decoding.canvas import Canvas
from .model import RandARModel


@dataclass(frozen=True)
class Start:
    """What is to be drawn: `canvas` knows the cells that stay, `pictures` `[B]` are the indices that seeds go by.

    `filled`: all ids of the canvas mean something, those of unknown cells too.
    """

    canvas: Canvas
    pictures: list[int]
    filled: bool


def start_from(latent: dict | None, model: RandARModel, classes: int, batch_size: int) -> Start:
    """The canvas for a LATENT, or an empty one of `batch_size` pictures a class without.

    A latent is repeated until every class has a picture. An all-zero one only sets how many there are. Raises
    ValueError for a latent of another model or another grid size.
    """
    if latent is None:
        pictures = list(range(batch_size * classes))
        return Start(Canvas.empty(len(pictures), model.grid, model.grid), pictures, filled=False)
    samples = samples_of(latent)
    if not samples.any():
        count = max(len(samples), classes)
        return Start(Canvas.empty(count, model.grid, model.grid), indices_of(latent, count), filled=False)
    start = start_of(latent, model, classes)
    height, width = start.canvas.ids.shape[1:]
    if (height, width) != (model.grid, model.grid):
        raise ValueError(
            f"This latent has {width}×{height} cells (width×height), a picture of "
            f"{width * model.vae.factor}×{height * model.vae.factor} pixels; the model draws "
            f"{model.grid}×{model.grid} cells, {model.side}×{model.side} pixels. Scale or crop the picture to that "
            "before VAE Encode. Pictures of any size are edited by RandAR Inpaint and RandAR Outpaint."
        )
    return start


def start_of(latent: dict, model: RandARModel, classes: int) -> Start:
    """The canvas for the pictures of a LATENT of any size, repeated until every class has one.

    Its unknown cells are those that the noise mask covers, all without one. Raises ValueError for a latent of another
    model.
    """
    ids = model.vae.ids(samples_of(latent))
    redrawn = torch.ones_like(ids, dtype=torch.bool)
    if "noise_mask" in latent:
        redrawn = repeated(masked_cells(latent["noise_mask"], *ids.shape[1:]), len(ids))
    count = max(len(ids), classes)
    return Start(Canvas(repeated(ids, count), ~repeated(redrawn, count)), indices_of(latent, count), filled=True)


def samples_of(latent: dict) -> Tensor:
    if latent["samples"].is_nested:
        raise ValueError("This latent holds several parts, as video models make them. Connect a latent of pictures.")
    return latent["samples"]


def masked_cells(mask: Tensor, rows: int, columns: int) -> Tensor:
    """The cells that a mask `[B, H, W]` or `[B, 1, H, W]` of any size touches with any pixel: `[B, h, w]` bool."""
    mask = mask.reshape(-1, 1, *mask.shape[-2:])
    return F.adaptive_max_pool2d(mask.float().cpu(), (rows, columns)).squeeze(1) > 0


def repeated(pictures: Tensor, count: int) -> Tensor:
    """The first `count` of `pictures` `[B, …]`, over and over."""
    return pictures[torch.arange(count) % len(pictures)]


def indices_of(latent: dict, count: int) -> list[int]:
    """The indices of `count` pictures that repeat those of a LATENT; they go on from the highest, as the core's Repeat
    Latent Batch has it.
    """
    indices = [int(i) for i in latent.get("batch_index", range(len(latent["samples"])))]
    span = max(indices) - min(indices) + 1
    return [indices[place % len(indices)] + place // len(indices) * span for place in range(count)]


def result(latent: dict | None, samples: Tensor, pictures: list[int]) -> dict:
    """The LATENT that a sampler hands on: what came in, with new samples."""
    out = dict(latent or {})
    out["samples"] = samples
    if "batch_index" in out:
        out["batch_index"] = pictures
    # These describe the latents of other models, as Empty Latent Image makes them.
    for key in ("downscale_ratio_spacial", "downscale_ratio_temporal"):
        out.pop(key, None)
    return out
