"""What a picture shows: mixtures of classes, regions of the canvas that they count in, and what to steer away from.

A `Condition` is one mixture. A `Prompt` says with conditions what one picture shows, a `PromptBatch` has those of a
batch, and a `ConditionMap` is a prompt on the cells of a canvas.

A condition takes the place of the papers' class id. Its embedding is the weighted mean of its classes' embeddings, so
one class with weight 1 is that class, bit for bit. No paper has regions or negative classes. They follow from what
guidance is: rows that see different conditions, and a rule that combines their logits, cell by cell.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from .guidance import Guidance


@dataclass(frozen=True)
class Condition:
    """A weighted mixture of classes. Equal classes are merged, weights divided by their sum, classes sorted by id.

    Raises ValueError where there is no class, and for weights below 0, not finite or of sum 0.
    """

    classes: tuple[int, ...]
    weights: tuple[float, ...]

    def __post_init__(self):
        if not self.classes or len(self.classes) != len(self.weights):
            raise ValueError(
                f"A mixture needs classes and as many weights; got {len(self.classes)} classes and "
                f"{len(self.weights)} weights."
            )
        if not all(math.isfinite(weight) and weight >= 0 for weight in self.weights):
            raise ValueError(f"The weights of a mixture must be numbers of 0 or more; got {list(self.weights)}.")
        merged: dict[int, float] = {}
        for class_id, weight in sorted(zip(self.classes, self.weights, strict=True)):
            if weight > 0:
                merged[int(class_id)] = merged.get(int(class_id), 0.0) + weight
        total = math.fsum(merged.values())
        if not total > 0:
            raise ValueError(
                f"The weights of a mixture add up to {total:g}; at least one must be above 0. Got {list(self.weights)}."
            )
        object.__setattr__(self, "classes", tuple(merged))
        object.__setattr__(self, "weights", tuple(weight / total for weight in merged.values()))

    @classmethod
    def of(cls, class_id: int) -> "Condition":
        """One class."""
        return cls((int(class_id),), (1.0,))

    @classmethod
    def blend(cls, parts: Sequence[tuple["Condition", float]]) -> "Condition":
        """A mixture of conditions by their weights. Raises ValueError as a mixture of classes does."""
        weights = [weight for _, weight in parts]
        if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not sum(weights) > 0:
            raise ValueError(
                f"The weights of a blend must be numbers of 0 or more, and one at least above 0; got {weights}."
            )
        pairs = [(c, w * weight) for part, weight in parts for c, w in zip(part.classes, part.weights, strict=True)]
        return cls(tuple(c for c, _ in pairs), tuple(w for _, w in pairs))


@dataclass(frozen=True)
class ConditionMap:
    """The prompt of one picture on a canvas of h × w cells: which condition counts where.

    `regions` `[K, h, w]` float32 on the CPU says how much each of the K conditions counts at a cell; None where one
    condition counts everywhere. K may be 0. `negative` None is the null condition of the model.
    """

    conditions: tuple[Condition, ...]
    regions: Tensor | None = None
    negative: Condition | None = None

    @property
    def kind(self) -> tuple[int, bool]:
        """Pictures of one kind have the same guidance rule: the number of conditions, and whether regions count."""
        return len(self.conditions), self.regions is not None

    def crop(self, rows: slice, columns: slice) -> "ConditionMap":
        """The part of a window, with the conditions that count in it."""
        return self if self.regions is None else self.of_regions(self.regions[:, rows, columns])

    def padded(self, padding: tuple[int, int, int, int]) -> "ConditionMap":
        """On a canvas extended by `padding` (left, right, top, bottom): the edges of the regions repeat."""
        if self.regions is None or not any(padding):
            return self
        return replace(self, regions=F.pad(self.regions[None], padding, mode="replicate")[0])

    def of_regions(self, regions: Tensor) -> "ConditionMap":
        """The same with other `regions` `[K, …]`, less the conditions that count nowhere."""
        used = regions.flatten(1).any(1)
        conditions = tuple(c for c, counts in zip(self.conditions, used.tolist(), strict=True) if counts)
        regions = regions[used]
        if len(conditions) == 1 and (regions == 1).all():
            return replace(self, conditions=conditions, regions=None)
        return replace(self, conditions=conditions, regions=regions)


def check_mask_values(mask: Tensor) -> None:
    """ValueError unless `mask` is `[H, W]` with finite values in 0…1."""
    if mask.ndim != 2 or not mask.numel():
        raise ValueError(f"The mask of a region must be [height, width]; found {list(mask.shape)}.")
    if not mask.isfinite().all() or mask.min() < 0 or mask.max() > 1:
        raise ValueError("The mask of a region holds values outside 0…1 or values that are not numbers.")


def check_region(mask: Tensor) -> None:
    """ValueError unless `mask` is a mask that marks something, as a user's region must."""
    check_mask_values(mask)
    if not mask.any():
        raise ValueError("The region covers nothing: its mask is 0 everywhere. Mark something in it.")


@dataclass(frozen=True)
class Prompt:
    """What one picture is to show. `masks` has one mask `[H, W]` of 0…1 for each condition, None for everywhere.

    A mask covers the picture, whatever its size: a cell's region weight is the mean over its pixels. Where masks add up
    to more than 1 they share; what they leave of 1 goes to the `background`, or without one to the negative condition.
    Raises ValueError without a condition, and for masks of another shape, not finite or out of range.
    """

    conditions: tuple[Condition, ...]
    masks: tuple[Tensor | None, ...] = ()
    background: Condition | None = None
    negative: Condition | None = None

    def __post_init__(self):
        if not self.conditions:
            raise ValueError("A picture needs at least one class.")
        masks = self.masks or (None,) * len(self.conditions)
        if len(masks) != len(self.conditions):
            raise ValueError(f"{len(self.conditions)} conditions need as many masks; got {len(masks)}.")
        for mask in masks:
            if mask is None:
                continue
            check_mask_values(mask)
        object.__setattr__(self, "masks", tuple(masks))

    @property
    def shown(self) -> set[Condition]:
        """The different conditions that it is to show."""
        return {*self.conditions, *filter(None, [self.background])}

    def on_cells(self, height: int, width: int) -> ConditionMap:
        """The conditions on a canvas of `height` × `width` cells. Equal conditions are merged."""
        regions: dict[Condition, Tensor] = {}
        for condition, mask in zip(self.conditions, self.masks, strict=True):
            if mask is None:
                region = torch.ones(height, width, dtype=torch.float32, device="cpu")
            else:
                whole = mask.to(device="cpu", dtype=torch.float32)[None, None]
                region = F.interpolate(whole, (height, width), mode="area")[0, 0]
            regions[condition] = regions[condition] + region if condition in regions else region
        total = torch.stack(list(regions.values())).sum(0)
        if (total > 1).any():
            regions = {condition: region / total.clamp(min=1) for condition, region in regions.items()}
        if self.background is not None:
            rest = (1 - total).clamp(min=0)
            before = regions.get(self.background)
            regions[self.background] = rest if before is None else before + rest
        ordered = sorted(regions, key=lambda condition: (condition.classes, condition.weights))
        cells = ConditionMap(tuple(ordered), negative=self.negative)
        return cells.of_regions(torch.stack([regions[condition] for condition in ordered]))


@dataclass(frozen=True)
class PromptBatch:
    """The prompts of a batch of pictures, and the device that they are drawn on."""

    items: tuple[Prompt, ...]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def of(cls, classes: "Tensor | PromptBatch") -> "PromptBatch":
        """One class for each picture, of class ids `[B]`, on their device. A `PromptBatch` is returned as it is.

        Raises ValueError for ids of another shape.
        """
        if isinstance(classes, PromptBatch):
            return classes
        if classes.ndim != 1:
            raise ValueError(f"Classes must be ids [batch], one for each picture; found {list(classes.shape)}.")
        return cls(tuple(Prompt((Condition.of(i),)) for i in classes.tolist()), classes.device)

    def __len__(self) -> int:
        return len(self.items)

    def take(self, index: Sequence[int]) -> "PromptBatch":
        """Those of the pictures in `index`."""
        return replace(self, items=tuple(self.items[i] for i in index))

    def repeated(self, batch: int) -> "PromptBatch":
        """For `batch` pictures: one for all of them, or as many as there are. Raises ValueError for other numbers."""
        if len(self) not in (1, batch):
            raise ValueError(f"{len(self)} classes don't match {batch} pictures: give 1 or {batch} of them.")
        return self.take([0] * batch) if len(self) == 1 else self

    def on_cells(self, height: int, width: int) -> list[ConditionMap]:
        """On canvases of `height` × `width` cells."""
        return [item.on_cells(height, width) for item in self.items]

    def groups(self, guidance: Guidance, height: int, width: int, parts: bool = False) -> list["PictureGroup"]:
        """The pictures that are decoded together under `guidance`; one group is decoded after the other.

        height, width: of the canvas in cells.
        parts: whether they are drawn part by part, in windows or crops. A part may see fewer regions than its picture,
            and be decoded together with those of pictures that have fewer: the groups are the largest that may be.
        """
        maps = self.on_cells(height, width)
        rows = [len(guidance.rule(*each.kind).rows) for each in maps]
        if parts:
            return [
                PictureGroup.of([each for each, own in zip(maps, rows, strict=True) if own >= n], n)
                for n in sorted(set(rows))
            ]
        kinds: dict[tuple[int, bool], list[ConditionMap]] = {}
        for each in maps:
            kinds.setdefault(each.kind, []).append(each)
        return [PictureGroup.of(alike, len(guidance.rule(*kind).rows)) for kind, alike in kinds.items()]

    def rows(self, guidance: Guidance) -> int:
        """The rows that the picture with most conditions is drawn in under `guidance`."""
        counts = [len(item.shown) for item in self.items]
        regions = [any(mask is not None for mask in item.masks) or item.background is not None for item in self.items]
        return max(
            (len(guidance.rule(n, n > 1 or in_regions).rows) for n, in_regions in zip(counts, regions, strict=True)),
            default=1,
        )


@dataclass(frozen=True)
class PictureGroup:
    """Pictures that are decoded together: how many, the rows of each, and the different conditions of all rows."""

    pictures: int
    rows: int
    conditions: int

    @classmethod
    def of(cls, maps: Sequence[ConditionMap], rows: int) -> "PictureGroup":
        """The group of pictures with these conditions, each drawn in so many `rows`."""
        shown = {condition for each in maps for condition in each.conditions}
        negatives = {each.negative for each in maps} if rows > 1 else set()
        return cls(len(maps), rows, len(shown | negatives))


def row_embeddings(model, rows: Sequence[Condition | None], device: torch.device) -> Tensor:
    """Embeddings `[R, D]` of the conditions of R rows, None for the null condition, in the model's compute dtype.

    Raises ValueError for class ids that the model doesn't have.
    """
    check_class_ids(model, [i for row in rows if row is not None for i in row.classes])
    null = ((model.null_class,), (1.0,))
    mixtures = [null if row is None else (row.classes, row.weights) for row in rows]
    distinct = sorted({class_id for classes, _ in mixtures for class_id in classes})
    embedded = model.class_embedding(torch.tensor(distinct, dtype=torch.long, device=device))
    index = {class_id: i for i, class_id in enumerate(distinct)}
    if all(len(classes) == 1 for classes, _ in mixtures):
        return embedded[torch.tensor([index[classes[0]] for classes, _ in mixtures], dtype=torch.long, device=device)]
    # Term by term in float32: a sum over all classes of the batch would round by what other rows hold.
    wide, mixed = embedded.to(torch.float32), []
    for classes, weights in mixtures:
        row = wide[index[classes[0]]] * weights[0]
        for class_id, weight in zip(classes[1:], weights[1:], strict=True):
            row = row + wide[index[class_id]] * weight
        mixed.append(row)
    return torch.stack(mixed).to(embedded.dtype)


def check_class_ids(model, class_ids: Sequence[int]) -> None:
    """ValueError unless the model has all of these classes."""
    if class_ids and not (0 <= min(class_ids) and max(class_ids) < model.config.classes):
        raise ValueError(
            f"The class ids lie in {min(class_ids)}…{max(class_ids)}; this model knows 0…{model.config.classes - 1}."
        )
