"""How new pixels meet old ones: masks that grow and fade, and the tokenizer's error along the edge between them."""

import torch
import torch.nn.functional as F
from torch import Tensor


def dilate(mask: Tensor, pixels: int) -> Tensor:
    """`mask` `[B, H, W]` grown by `pixels` in every direction (a square)."""
    for axis in (1, 2):
        length = mask.shape[axis]
        target, grown = min(pixels, length - 1), 0
        while grown < target:
            # Moved so far that no gap opens, also where the picture's edge cut off one half of the grown part.
            step = min(grown + 1, target - grown)
            wide, rest = mask.clone(), length - step
            for there, here in ((step, 0), (0, step)):
                part = wide.narrow(axis, there, rest)
                torch.maximum(part, mask.narrow(axis, here, rest), out=part)
            mask, grown = wide, grown + step
    return mask


def feather(mask: Tensor, seam: int) -> Tensor:
    """The opacity of the new picture, `[B, H, W]`: 0 where `mask` is 0, rising inside it over `seam` pixels.

    Where the mask is too thin for the seam, it rises to 1 in its middle. The edge of the picture isn't one of the mask.
    """
    inner = (mask > 0).to(torch.float32)
    depth = inner.clone()
    for _ in range(min(seam, max(mask.shape[1:]))):
        inner = -F.max_pool2d(-inner.unsqueeze(1), 3, 1, 1).squeeze(1)
        if not inner.any():
            break
        depth += inner
    return mask * depth / dilate(depth, seam).clamp(min=1)


def fade_out(height: int, width: int, margins: tuple[int, int, int, int], seam: int) -> Tensor:
    """1 on a rectangle, falling outside of it to 0 over `seam` pixels; `margins` are left, right, top, bottom."""
    left, right, top, bottom = margins
    y, x = torch.arange(-top, height + bottom, device="cpu"), torch.arange(-left, width + right, device="cpu")
    away_y = torch.maximum(-y, y - height + 1).clamp(min=0)[:, None]
    away_x = torch.maximum(-x, x - width + 1).clamp(min=0)
    return (1 - torch.hypot(away_y.to(torch.float32), away_x.to(torch.float32)) / (seam + 1)).clamp(min=0)


def edge_of(old: Tensor, new: Tensor) -> Tensor:
    """The pixels of `old` `[B, H, W]` bool that are neighbours of one of `new`, diagonally too."""
    return old & (dilate(new.to(torch.float32), 1) > 0)


def push_pull(error: Tensor, edge: Tensor) -> Tensor:
    """Extend `error` `[B, C, H, W]` smoothly from an `edge` `[B or 1, H, W]` bool to all pixels; 0 without an edge.

    Added to new pixels, it removes the tokenizer's error that the old pixels next to them show, as in seamless cloning
    (Pérez et al., 2003). Near the edge it follows the edge, farther away ever wider means of it, so that details, such
    as an outline that the edge cuts, leave no streaks. Means are pulled to ever coarser grids and pushed back where
    nothing finer is known (Gortler et al., The Lumigraph, 1996).
    """
    known = edge[:, None].expand(len(error), 1, -1, -1)
    levels = [(torch.where(known, error, 0).float(), known.float())]
    while max(known.shape[2:]) > 1:
        # Windows overlap: with those side by side it would matter where an edge lies on the grid.
        kernel, stride, padding = zip(*((4, 2, 1) if side > 1 else (1, 1, 0) for side in known.shape[2:]), strict=True)
        total, known = (F.avg_pool2d(t, kernel, stride, padding) for t in levels[-1])
        # What a quarter of a window knows, as along an edge, is known: there is nothing better at this size.
        full = (4 * known).clamp(max=1)
        total.mul_(full / known.clamp(min=torch.finfo(known.dtype).tiny))
        known = full
        levels.append((total, known))
    total, known = levels.pop()
    carried = total / known.clamp(min=torch.finfo(known.dtype).tiny)
    while levels:
        total, known = levels.pop()
        carried = F.interpolate(carried, total.shape[2:], mode="bilinear")
        carried = carried.mul_(1 - known).add_(total)
    return carried.to(error)
