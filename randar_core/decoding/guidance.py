"""Guidance: the rows that a picture is decoded in, and the rule that combines their logits.

Every rule has one form: `logits = base + Σ weight · (plus − minus)`, where base, plus and minus are rows. A weight
depends on `progress`, the share of the canvas that is set, and on the regions of the conditions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Linear:
    """A weight that goes from `start` to `end` in a line (RandAR). Raises ValueError where one is not finite."""

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
    """RAR's schedule (arXiv 2411.00776): rises from 1 to `scale`, the later the greater `power`; power 0 is constant.

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


GuidanceSchedule = Linear | PowerCosine  # a function of progress 0…1


@dataclass(frozen=True)
class Row:
    """What a row sees: a condition, by its index (None: the negative one), and all of the context or a part of it."""

    condition: int | None
    masked_context: bool = False


@dataclass(frozen=True)
class Term:
    """`schedule(progress) · region · (plus − minus)`: `plus` and `minus` are indices of rows, `region` of a condition.

    A term without a schedule has the weight 1, one without a region counts everywhere.
    """

    plus: int
    minus: int
    schedule: GuidanceSchedule | None
    region: int | None = None


@dataclass(frozen=True)
class Rule:
    """The rows of a picture and how their logits combine: `base` is the index of a row."""

    rows: tuple[Row, ...]
    base: int
    terms: tuple[Term, ...]

    def weights(self, progress: Sequence[float], regions: Tensor | None) -> Tensor:
        """The weight of every term for tokens at `progress` `[n]`: `[terms, B, n]` float32, B may be 1.

        `regions` `[B, K, n]` is how much each condition counts at the token's cell.
        """
        if not self.terms:
            return torch.empty(0, 1, len(progress), dtype=torch.float32, device="cpu")
        weights = []
        for term in self.terms:
            values = [1.0 if term.schedule is None else term.schedule(share) for share in progress]
            weight = torch.tensor(values, dtype=torch.float32, device="cpu").unsqueeze(0)
            weights.append(weight if term.region is None else weight * regions[:, term.region])
        return torch.stack(torch.broadcast_tensors(*weights))

    def combine(self, logits: Tensor, weights: Tensor) -> Tensor:
        """Guided logits `[B, n, V]` of `logits` `[rows, B, n, V]` by `weights` `[terms, B or 1, n]`."""
        guided = logits[self.base]
        for weight, term in zip(weights, self.terms, strict=True):
            guided = guided + weight.unsqueeze(-1) * (logits[term.plus] - logits[term.minus])
        return guided


@dataclass(frozen=True)
class Guidance:
    """How strongly the conditions of a picture are enforced, and in an extrapolation the context (`spatial`)."""

    schedule: GuidanceSchedule
    spatial: GuidanceSchedule | None = None

    @property
    def masks_context(self) -> bool:
        """Whether a row sees a part of the context only. A spatial weight of 1 throughout cancels that row."""
        return self.spatial is not None and not self.spatial.is_off

    def rule(self, conditions: int = 1, regions: bool = False) -> Rule:
        """The rule for a picture of `conditions` conditions, which count in `regions` or everywhere.

        One condition everywhere: `u + w (c − u)` over the rows c and u, the negative condition; a weight of 1
        throughout needs the row c alone. Several conditions or regions: `u + w Σ aₖ (cₖ − u)`. Spatial guidance of
        resolution extrapolation (RandAR, section 3.4): `d + w Σ aₖ (cₖ − u) + w_spatial (u − d)`, where d is u with a
        masked context.
        """
        schedule = None if self.schedule.is_off else self.schedule
        if conditions == 1 and not regions and schedule is None and not self.masks_context:
            return Rule((Row(0),), 0, ())
        rows = [*(Row(index) for index in range(conditions)), Row(None)]
        negative = conditions
        terms = [Term(index, negative, schedule, index if regions else None) for index in range(conditions)]
        if not self.masks_context:
            return Rule(tuple(rows), negative, tuple(terms))
        masked = len(rows)
        return Rule((*rows, Row(None, masked_context=True)), masked, (*terms, Term(negative, masked, self.spatial)))


UNGUIDED = Guidance(Linear(1.0, 1.0))
