"""Square crops around the masked regions of a picture: geometry alone."""

import math
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

MUCH_WIDER = 1.5  # of a square that regions share, relative to the widest that one of them has alone


@dataclass(frozen=True)
class Crop:
    """A square of a picture, `side` pixels wide, that is repainted at the model's size. It may reach over the edges."""

    picture: int  # index in the batch
    top: int
    left: int
    side: int
    regions: tuple[int, ...]  # the labels of the masked regions that it repaints

    def of(self, pixels: Tensor) -> Tensor:
        """The square's part of its picture in `pixels` `[B, ..., H, W]`. Outside of the picture its edge repeats."""
        return self.of_one(pixels[self.picture])

    def of_one(self, pixels: Tensor) -> Tensor:
        """The square's part of one picture `[..., H, W]`. Outside of the picture its edge repeats."""
        height, width = pixels.shape[-2:]
        steps = torch.arange(self.side, device=pixels.device)
        rows, columns = (self.top + steps).clamp(0, height - 1), (self.left + steps).clamp(0, width - 1)
        return pixels[..., rows[:, None], columns]

    def inside(self, height: int, width: int, device) -> Tensor:
        """Which pixels of the square lie on a picture of `height` × `width`: `[side, side]` bool."""
        steps = torch.arange(self.side, device=device)
        rows, columns = self.top + steps, self.left + steps
        return ((rows >= 0) & (rows < height))[:, None] & (columns >= 0) & (columns < width)


def crops_of(labels: Tensor, context: float, size: int) -> list[Crop]:
    """The crops in which a model of `size` pixels repaints the regions of `labels` `[B, H, W]`.

    Around each region lies a square, `context` times as wide as the region and at least `size` pixels wide where there
    is room. It reaches over the edges where the picture is too narrow for this context along its longer side. Regions
    whose squares would mostly coincide share one, unless it is much wider than theirs.
    """
    return [crop for index in range(len(labels)) for crop in crops_of_picture(labels[index], index, context, size)]


def resize_square(pixels: Tensor, size: int) -> Tensor:
    """A square picture `[C, S, S]` at `size`, in 0…1; unchanged where it has that size."""
    if pixels.shape[1] == size:
        return pixels
    # Torch before 2.8 has no antialiased scaling on MPS.
    source = pixels.cpu() if pixels.device.type == "mps" else pixels
    out = F.interpolate(source[None].to(torch.float32), (size, size), mode="bicubic", antialias=True)[0].clamp(0, 1)
    return out.to(pixels.device)


def label_regions(inside: Tensor) -> Tensor:
    """Number the regions of `inside` `[B, H, W]` bool: `[B, H, W]` long, 0 outside.

    Neighbours (diagonal ones too) are one region. They are judged on at most 64×64 blocks: closer ones share a square.
    """
    height, width = inside.shape[1:]
    block = math.ceil(max(height, width) / 64)
    blocks = F.max_pool2d(inside.to(torch.float32).unsqueeze(1), block, ceil_mode=True)
    labels = blocks * torch.arange(1, blocks[0].numel() + 1, device=inside.device).view(blocks[0].shape)
    while True:
        flooded = F.max_pool2d(labels, 3, 1, 1) * blocks
        if torch.equal(flooded, labels):
            break
        # A label is the number of a block: taking the label that this block has by now doubles the stride.
        labels = F.pad(labels.flatten(1), (1, 0)).gather(1, flooded.flatten(1).long()).view(labels.shape)
    labels = labels.squeeze(1).repeat_interleave(block, 1).repeat_interleave(block, 2)
    return labels[:, :height, :width].long() * inside


@dataclass(frozen=True)
class Box:
    """The smallest rectangle around the masked `regions`."""

    top: int
    left: int
    bottom: int
    right: int
    regions: tuple[int, ...]

    def union(self, other: "Box") -> "Box":
        return Box(
            min(self.top, other.top),
            min(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
            self.regions + other.regions,
        )


def boxes_of(labels: Tensor) -> list[Box]:
    """The box of every region of `labels` `[H, W]`."""
    height, width = labels.shape
    rows, columns = torch.meshgrid(torch.arange(height, device="cpu"), torch.arange(width, device="cpu"), indexing="ij")
    flat, count = labels.flatten().cpu(), int(labels.max()) + 1

    def extreme(values: Tensor, how: str) -> Tensor:
        return torch.zeros(count, dtype=torch.long, device="cpu").scatter_reduce(
            0, flat, values.flatten(), how, include_self=False
        )

    ends = [extreme(rows, "amin"), extreme(columns, "amin"), extreme(rows, "amax") + 1, extreme(columns, "amax") + 1]
    return [Box(*(int(end[label]) for end in ends), (label,)) for label in flat.unique().tolist() if label]


def crops_of_picture(labels: Tensor, picture: int, context: float, size: int) -> list[Crop]:
    """The crops of one picture with `labels` `[H, W]`, see `crops_of`."""
    height, width = labels.shape

    @cache  # every box is compared with every other one
    def square(box: Box) -> Crop:
        region = max(box.bottom - box.top, box.right - box.left)
        along = box.right - box.left if width > height else box.bottom - box.top
        side = min(max(math.ceil(context * region), size), widest_square(height, width, context * along))
        top = fit_inside((box.top + box.bottom - side) // 2, side, height)
        return Crop(picture, top, fit_inside((box.left + box.right - side) // 2, side, width), side, box.regions)

    boxes, apart = boxes_of(labels), []
    alone = {box.regions: square(box).side for box in boxes}

    def share(a: Box, b: Box) -> bool:
        if not coincide(square(a), square(b)):
            return False
        # Otherwise many small regions in a row would end in one square of the whole picture, far too coarse for each.
        union = a.union(b)
        return square(union).side <= MUCH_WIDER * max(alone[(region,)] for region in union.regions)

    while boxes:
        box = boxes.pop()
        mate = next((other for other in boxes if share(box, other)), None)
        if mate is None:
            apart.append(box)
        else:  # the larger square may now coincide with one that was apart
            boxes.remove(mate)
            boxes, apart = [*apart, *boxes, box.union(mate)], []
    return sorted((square(box) for box in apart), key=lambda crop: (crop.top, crop.left))


def widest_square(height: int, width: int, context: float) -> int:
    """The largest side, in pixels, of a square on a picture that is to see `context` pixels along its longer side.

    A square larger than the shorter side has context along the longer one only, and outside of the picture nothing: it
    grows as far as the context asks for along that side.
    """
    return max(min(height, width), min(math.ceil(context), max(height, width)))


def fit_inside(start: int, side: int, length: int) -> int:
    """The start of a segment of `side`, moved into 0 … `length`; in the middle where it is longer."""
    return min(max(start, 0), length - side) if side <= length else (length - side) // 2


def coincide(a: Crop, b: Crop) -> bool:
    """Whether two squares share more than half of the smaller one."""
    shared = [max(0, min(p + a.side, q + b.side) - max(p, q)) for p, q in ((a.top, b.top), (a.left, b.left))]
    return 2 * shared[0] * shared[1] > min(a.side, b.side) ** 2
