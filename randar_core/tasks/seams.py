"""How new pixels meet old ones: masks that grow and fade, and the tokenizer's error carried on into what is new."""

import torch
import torch.nn.functional as F
from torch import Tensor


def spread(mask: Tensor, pixels: int) -> Tensor:
    """`mask` `[B, H, W]` grown by `pixels` in every direction (a square)."""
    for axis in (1, 2):
        length = mask.shape[axis]
        wanted, grown = min(pixels, length - 1), 0
        while grown < wanted:
            # Moved by so much that no gap opens, also where the picture's edge cut off one half of what had grown.
            step = min(grown + 1, wanted - grown)
            wide, rest = mask.clone(), length - step
            for there, here in ((step, 0), (0, step)):
                part = wide.narrow(axis, there, rest)
                torch.maximum(part, mask.narrow(axis, here, rest), out=part)
            mask, grown = wide, grown + step
    return mask


def fade_in(mask: Tensor, seam: int) -> Tensor:
    """How much of the new picture shows, `[B, H, W]`: 0 where `mask` is 0, rising inside it over `seam` pixels.

    Where the mask is too thin for the seam, it rises to 1 in its middle. The picture's edge is no edge of the mask.
    """
    left = (mask > 0).float()
    depth = left.clone()
    for _ in range(min(seam, max(mask.shape[1:]))):
        left = -F.max_pool2d(-left.unsqueeze(1), 3, 1, 1).squeeze(1)
        if not left.any():
            break
        depth += left
    return mask * depth / spread(depth, seam).clamp(min=1)


def fade_out(old: Tensor, seam: int) -> Tensor:
    """1 on the rectangle `old` `[H, W]` bool, falling outside of it to 0 over `seam` pixels."""

    def away(line: Tensor) -> Tensor:
        places = torch.arange(len(line), device=line.device)
        inside = places[line]
        return torch.maximum(inside[0] - places, places - inside[-1]).clamp(min=0)

    return (1 - torch.hypot(away(old.any(1))[:, None].float(), away(old.any(0)).float()) / (seam + 1)).clamp(min=0)


def edge_of(new: Tensor, old: Tensor) -> Tensor:
    """The pixels of `old` `[H, W]` bool that lie beside one of `new`, diagonally too."""
    return old & (spread(new[None].float(), 1)[0] > 0)


def carried_on(error: Tensor, edge: Tensor) -> Tensor:
    """What `error` `[B, C, H, W]` is along an `edge` `[B or 1, H, W]` bool, everywhere: smooth, and 0 without an edge.

    Added to new pixels, it takes off what the tokenizer gets wrong in the old ones beside them, as in seamless cloning
    (Perez et al., 2003): beside the edge what stands there, farther away ever wider means of it, so that details, such
    as an outline that the edge cuts, leave no streaks. By pulling means to ever coarser grids and pushing them back
    where nothing finer is known (Gortler et al., The Lumigraph, 1996).
    """
    weight = edge[:, None].to(error)
    levels = [(error * weight, weight)]
    while max(weight.shape[2:]) > 1:
        total, weight = (F.avg_pool2d(t, 2, ceil_mode=True) for t in levels[-1])
        # A mean of four pixels of which one is known counts as known: there is nothing better at this size.
        known = (4 * weight).clamp(max=1)
        total, weight = total * (known / weight.clamp(min=torch.finfo(weight.dtype).tiny)), known
        levels.append((total, weight))
    carried = torch.zeros_like(levels[-1][0])
    for total, weight in reversed(levels):
        coarse = F.interpolate(carried, total.shape[2:], mode="bilinear") if carried.shape != total.shape else carried
        carried = torch.addcmul(total, 1 - weight, coarse)
    return carried
