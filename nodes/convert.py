"""Between ComfyUI's IMAGE, MASK and LATENT and the tensors of the core.

What comes in is checked here, once and alike for all nodes: empty batches, NaN and infinity are refused by the name of
the input, pixels and masks outside 0…1 are clamped.
"""

from dataclasses import dataclass

import comfy.model_management
import torch
from einops import rearrange
from torch import Tensor

from ..randar_core.decoding.canvas import Canvas, cells_of_mask
from ..randar_core.decoding.loop import DecodeProgress
from ..randar_core.tasks.inpaint import THRESHOLD
from .input_checks import extremes, in_unit_range
from .loaded_model import LoadedModel


def pixels_of(image: Tensor, name: str = "image") -> Tensor:
    """An IMAGE `[B, H, W, C]` as pixels `[B, 3 or 4, H, W]` float32 in 0…1."""
    if image.ndim != 4:
        raise ValueError(f"The {name} has the shape {list(image.shape)}; expected [batch, height, width, channels].")
    image = in_unit_range(image, name)
    image = image if image.shape[3] in (3, 4) else image[..., :1].expand(-1, -1, -1, 3)
    return rearrange(image, "b h w c -> b c h w")


def image_of(pixels: Tensor) -> Tensor:
    """Pixels `[B, C, H, W]` as an IMAGE `[B, H, W, C]`."""
    return rearrange(to_host(pixels), "b c h w -> b h w c")


def masks_of(mask: Tensor, name: str = "mask") -> Tensor:
    """A MASK `[H, W]`, `[B, H, W]` or `[B, 1, H, W]` as `[B, H, W]` float32 in 0…1."""
    if mask.ndim < 2:
        raise ValueError(f"The {name} has the shape {list(mask.shape)}; expected [batch, height, width].")
    values = mask.to(torch.float32) if mask.dtype == torch.bool else mask
    return in_unit_range(values, name).reshape(-1, *mask.shape[-2:])


def mask_of(model: LoadedModel, confidence: Tensor) -> Tensor:
    """A value for each cell `[B, h, w]` as a MASK of the picture's size."""
    return to_host(confidence).repeat_interleave(model.vae.factor, 1).repeat_interleave(model.vae.factor, 2)


def latent_of(model: LoadedModel, ids: Tensor) -> dict:
    return {"samples": model.vae.vectors(ids)}


def to_host(tensor: Tensor) -> Tensor:
    """`tensor` where ComfyUI keeps what goes from node to node, in float32."""
    return tensor.to(comfy.model_management.intermediate_device(), torch.float32)


@dataclass(frozen=True)
class Start:
    """What a sampler starts from: `canvas` knows the cells that stay, `batch_index` `[B]` says which picture is which.

    The canvas lies on the CPU: the task takes it to its device, where `run` has made room. `filled`: the ids of unknown
    cells are valid too.
    """

    canvas: Canvas
    batch_index: list[int]
    filled: bool


def sampler_start(
    latent: dict | None, model: LoadedModel, classes: int, batch_size: int, threshold: float = THRESHOLD
) -> Start:
    """The start for a LATENT of the model's own size, or for an empty canvas of `batch_size` pictures of each class.

    A latent is repeated until every class has a picture. One of zeros only says how many pictures there are. Raises
    ValueError for a latent of another model or of another grid size.
    """
    if latent is None:
        count = batch_size * classes
        return Start(empty_canvas(count, model.grid), list(range(count)), filled=False)
    samples = samples_of(latent)
    extremes(samples, "latent")
    if not samples.any():
        count = max(len(samples), classes)
        return Start(empty_canvas(count, model.grid), batch_index_of(latent, count), filled=False)
    start = latent_start(latent, model, classes, threshold)
    height, width = start.canvas.ids.shape[1:]
    if (height, width) != (model.grid, model.grid):
        raise ValueError(
            f"This latent has {width}×{height} cells (width×height), a picture of "
            f"{width * model.vae.factor}×{height * model.vae.factor} pixels; the model draws "
            f"{model.grid}×{model.grid} cells, {model.side}×{model.side} pixels. Scale or crop the picture to that "
            "size before VAE Encode. RandAR Inpaint and RandAR Outpaint take pictures of any size."
        )
    return start


def latent_start(latent: dict, model: LoadedModel, classes: int, threshold: float = THRESHOLD) -> Start:
    """The start for a LATENT of any size, repeated until every class has a picture.

    Unknown are the cells where the noise mask is above `threshold`, or all cells where there is no noise mask.
    Raises ValueError for a latent of another model.
    """
    ids = model.vae.ids(samples_of(latent))
    masked = torch.ones_like(ids, dtype=torch.bool)
    if latent.get("noise_mask") is not None:
        masks = masks_of(latent["noise_mask"], "noise mask of the latent").cpu()
        masked = repeated(cells_of_mask(masks > threshold, *ids.shape[1:]), len(ids))
    count = max(len(ids), classes)
    canvas = Canvas(repeated(ids, count), ~repeated(masked, count))
    return Start(canvas, batch_index_of(latent, count), filled=True)


def empty_canvas(count: int, grid: int) -> Canvas:
    return Canvas.empty(count, grid, grid, torch.device("cpu"))


def samples_of(latent: dict) -> Tensor:
    if latent["samples"].is_nested:
        raise ValueError("This latent has several parts, as video models make them. Connect a latent of pictures.")
    return latent["samples"]


def repeated(pictures: Tensor, count: int) -> Tensor:
    """The first `count` of `pictures` `[B, …]`, which repeat as often as needed."""
    return pictures[torch.arange(count, device=pictures.device) % len(pictures)]


def batch_index_of(latent: dict, count: int) -> list[int]:
    """The batch index of `count` pictures that repeat those of a LATENT.

    Repeated pictures count up from the highest index, as in the core's Repeat Latent Batch.
    """
    indices = [int(index) for index in latent.get("batch_index", range(len(latent["samples"])))]
    span = max(indices) - min(indices) + 1
    return [indices[i % len(indices)] + i // len(indices) * span for i in range(count)]


def drawn_outputs(
    model: LoadedModel, drawn: DecodeProgress, batch_index: list[int], latent: dict | None = None
) -> tuple[dict, Tensor]:
    """The LATENT and the MASK that a sampler hands on: what came in, with new samples, and the confidence."""
    return latent_result(latent, model.vae.vectors(drawn.ids), batch_index), mask_of(model, drawn.confidence)


def latent_result(latent: dict | None, samples: Tensor, batch_index: list[int]) -> dict:
    """The latent that came in, with new samples."""
    out = dict(latent or {})
    out["samples"] = samples
    if "batch_index" in out or batch_index != list(range(len(batch_index))):
        out["batch_index"] = batch_index
    # Empty Latent Image writes these for the latents of other models.
    for key in ("downscale_ratio_spacial", "downscale_ratio_temporal"):
        out.pop(key, None)
    return out
