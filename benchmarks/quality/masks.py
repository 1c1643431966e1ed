"""The masks and the classes with which the quality report edits drawn landscapes."""

from collections.abc import Sequence

import torch
from quality.bench import Scenes
from quality.parts import THINGS
from torch import Tensor

from randar_core.procedural.landscape.pictures import CLASSES

MARGIN = 1 / 16
"""By how much a mask is dilated around the subject, in sides of the picture: it hides the outline."""


def around_subjects(subjects: Tensor) -> Tensor:
    """The bounding boxes of `subjects` `[B, H, W]` bool, grown by the margin: `[B, H, W]` bool."""
    grow = round(MARGIN * subjects.shape[2])
    boxes = torch.zeros_like(subjects)
    for box, mask in zip(boxes, subjects, strict=True):
        rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
        top, left = max(0, int(rows[0]) - grow), max(0, int(columns[0]) - grow)
        box[top : int(rows[-1]) + 1 + grow, left : int(columns[-1]) + 1 + grow] = True
    return boxes


def halves(subjects: Tensor, pictures: range) -> Tensor:
    """One half of each subject's box: left, right, top and bottom in turn, cut through the middle of the subject."""
    masks = around_subjects(subjects)
    # Each class must meet each side.
    for mask, subject, picture in zip(masks, subjects, pictures, strict=True):
        axis, later = divmod(picture // len(CLASSES) % 4, 2)
        lines = subject.any(axis).nonzero()
        middle = int(lines[0] + lines[-1] + 1) // 2
        along = mask if axis else mask.T
        if later:
            along[:middle] = False
        else:
            along[middle:] = False
    return masks


def other_classes(pictures: range, classes: Sequence[int] = range(len(CLASSES))) -> Tensor:
    """Another of `classes` (ids) than the picture's own; all of them in turn."""
    count = len(classes)
    return torch.tensor([classes[(i + 1 + i // count % (count - 1)) % count] for i in pictures])


def boxes_of(scenes: Scenes, pictures: range) -> Tensor:
    return around_subjects(scenes.subjects)


def halves_of(scenes: Scenes, pictures: range) -> Tensor:
    return halves(scenes.subjects, pictures)


def own_classes(scenes: Scenes, pictures: range) -> Tensor:
    return scenes.labels


def new_things(scenes: Scenes, pictures: range) -> Tensor:
    return other_classes(pictures, THINGS)
