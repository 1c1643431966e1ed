"""Guidance: which rows an image is decoded in, and the rule that combines their logits.

Every rule has one form: `logits = base + Σ weight(progress) · (plus − minus)`, where base, plus and minus are rows.
`progress` is the share of the canvas that is set before the call.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Course = Callable[[float], float]  # progress 0…1 → weight


@dataclass(frozen=True)
class Linear:
    """A weight that goes from `start` to `end` in a line (RandAR). Raises ValueError where one is no number."""

    start: float
    end: float

    def __post_init__(self):
        if not (math.isfinite(self.start) and math.isfinite(self.end)):
            raise ValueError(f"Guidance goes from {self.start} to {self.end}; both must be finite numbers.")

    def __call__(self, progress: float) -> float:
        return self.start + (self.end - self.start) * progress

    @property
    def is_off(self) -> bool:
        return self.start == 1 and self.end == 1


@dataclass(frozen=True)
class PowerCosine:
    """RAR's course (arXiv 2411.00776): rises from 1 to `scale`, the later the greater `power`; power 0 is constant.

    A `scale` of 0 means no guidance, as its authors use it. Raises ValueError for a power below 0.
    """

    scale: float
    power: float

    def __post_init__(self):
        if not math.isfinite(self.scale):
            raise ValueError(f"Guidance rises to {self.scale}; it must be a finite number.")
        if not 0 <= self.power < math.inf:
            raise ValueError(f"The power of guidance is {self.power}; it must be 0 (constant) or more.")

    def __call__(self, progress: float) -> float:
        return (self.scale - 1) * (1 - math.cos(math.pi * progress**self.power)) / 2 + 1

    @property
    def is_off(self) -> bool:
        return self.scale in (0, 1)


@dataclass(frozen=True)
class Row:
    """What one row of guidance sees: the image's class or the null class, all of the context or the part kept."""

    null_class: bool = False
    dropped_context: bool = False


@dataclass(frozen=True)
class Combination:
    """The rule without its weights: the place of the base, and of plus and minus in every term."""

    base: int
    pairs: tuple[tuple[int, int], ...]

    def __call__(self, logits: Tensor, weights: Tensor) -> Tensor:
        """Guided logits `[B, n, V]` of `logits` `[rows, B, n, V]` by `weights` `[terms, n]`."""
        guided = logits[self.base]
        for weight, (plus, minus) in zip(weights, self.pairs, strict=True):
            guided = guided + weight[:, None] * (logits[plus] - logits[minus])
        return guided


@dataclass(frozen=True)
class Guidance:
    """Rows and their rule: `terms` are (weight, plus, minus), `base`, `plus` and `minus` places in `rows`."""

    rows: tuple[Row, ...]
    base: int
    terms: tuple[tuple[Course, int, int], ...]

    def weights(self, progress: Sequence[float]) -> Tensor:
        """The weight of every term at each of n places in `progress`: `[terms, n]` float32, on the CPU."""
        weights = [[course(share) for share in progress] for course, _, _ in self.terms]
        return torch.tensor(weights, dtype=torch.float32).view(len(self.terms), len(progress))

    @property
    def combination(self) -> Combination:
        return Combination(self.base, tuple((plus, minus) for _, plus, minus in self.terms))


UNGUIDED = Guidance((Row(),), 0, ())


def class_guidance(course: Linear | PowerCosine) -> Guidance:
    """`u + w (c − u)` over the rows class and null class; a weight of 1 throughout needs the class row alone."""
    if course.is_off:
        return UNGUIDED
    return Guidance((Row(), Row(null_class=True)), 1, ((course, 0, 1),))


def spatial_guidance(class_course: Linear | PowerCosine, spatial_course: Linear | PowerCosine) -> Guidance:
    """Guidance of resolution extrapolation (RandAR, section 3.4): `C + w_class (A − B) + w_spatial (B − C)`.

    A sees the class and the full context, B the null class and the full context, C the null class and the kept context.
    A spatial weight of 1 throughout cancels C and leaves class guidance.
    """
    if spatial_course.is_off:
        return class_guidance(class_course)
    if class_course.is_off:  # also by a scale of 0, see `PowerCosine`
        class_course = Linear(1, 1)
    rows = (Row(), Row(null_class=True), Row(null_class=True, dropped_context=True))
    return Guidance(rows, 2, ((class_course, 0, 1), (spatial_course, 1, 2)))
