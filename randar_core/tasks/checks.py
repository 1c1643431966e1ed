"""Checks of what tasks are given, where it enters."""

from torch import Tensor


def batch_of(**counts: int) -> int:
    """The batch size of inputs that each have one entry or the same number, by their names.

    Raises ValueError where they don't match.
    """
    most = max(counts, key=counts.__getitem__)
    for name, count in counts.items():
        if count not in (1, counts[most]):
            raise ValueError(f"{count} {name} don't match {counts[most]} {most}: give 1 or {counts[most]} of them.")
    return counts[most]


def match_batches(batch: int, *tensors: Tensor) -> list[Tensor]:
    """`tensors` with `batch` entries each: one entry is repeated, as a view."""
    return [tensor.expand(batch, *tensor.shape[1:]) for tensor in tensors]


def check_pixels(pixels: Tensor) -> None:
    """ValueError unless `pixels` are finite `[B, C, H, W]` with three colours or three and alpha, and not empty."""
    if pixels.ndim != 4 or pixels.shape[1] not in (3, 4) or not pixels.numel():
        raise ValueError(
            f"The picture has the shape {list(pixels.shape)}; expected [batch, 3 colours or 4, height, width]."
        )
    if not pixels.isfinite().all():
        raise ValueError("The picture holds values that are not numbers (NaN or infinite). Repair or replace it.")


def check_mask(mask: Tensor, pixels: Tensor) -> None:
    """ValueError unless `pixels` are pictures and `mask` is finite, `[B, H, W]`, of their size."""
    check_pixels(pixels)
    if mask.ndim != 3 or mask.shape[1:] != pixels.shape[2:] or not len(mask):
        found = f"is {mask.shape[2]}×{mask.shape[1]}" if mask.ndim == 3 else f"has the shape {list(mask.shape)}"
        raise ValueError(
            f"The mask {found}, the picture is {pixels.shape[3]}×{pixels.shape[2]} pixels (width×height). "
            "Scale or crop the mask to the size of the picture."
        )
    if not mask.isfinite().all():
        raise ValueError("The mask holds values that are not numbers (NaN or infinite). Repair or replace it.")
