"""What the sections of the quality report share: the model under test, drawing with it, and the judge's verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from judge import TrainedJudge, pixels_of
from quality_statistics import Reference, wilson
from torch import Tensor
from tqdm import tqdm

from randar_core.checkpoints.model import Model
from randar_core.decoding.guidance import Guidance
from randar_core.decoding.loop import Decoded
from randar_core.decoding.options import DecodingOptions
from randar_core.decoding.orders import ORDERS, Order, Painted
from randar_core.decoding.sampling import Sampling
from randar_core.runtime.packed_linear import pack
from randar_core.runtime.precision import Precision
from randar_core.tasks.generate import generate
from randar_core.training.pictures import CLASSES, PORTRAIT, Bounds, picture_with_mask

EVALUATION_PICTURES = 71_004
"""Seed of the procedural pictures that are encoded, scored and edited; neither model nor judge was trained on them."""

PAINTED = "painted, left to right"

Measure = Callable[[], dict]


def every_order() -> dict[str, Order]:
    """Those with names, and a painted one: a ramp, so that columns come in turn and the cells of each at random."""
    return ORDERS | {PAINTED: Painted(torch.linspace(1, 0, 64)[None])}


@dataclass(frozen=True)
class Row:
    """One row of a section: `measure` gives its figures from `count` pictures."""

    name: str
    count: int
    measure: Measure


@dataclass(frozen=True)
class Counts:
    """How many pictures the rows of a section get: shares of `samples`, in whole rounds of the classes."""

    samples: int

    def share(self, part: float) -> int:
        return max(1, round(self.samples * part / len(CLASSES))) * len(CLASSES)

    @property
    def headline(self) -> int:
        return self.share(1)

    @property
    def compared(self) -> int:
        """Where small differences are asked for."""
        return self.share(0.4)

    @property
    def some(self) -> int:
        return self.share(0.2)

    @property
    def few(self) -> int:
        return self.share(0.1)

    @property
    def large(self) -> int:
        """For pictures of several times the size."""
        return self.share(0.02)

    @property
    def smoke(self) -> bool:
        """Too few to say anything: only that everything runs."""
        return self.samples < 100


@dataclass(frozen=True)
class Scenes:
    """Procedural pictures: `pixels` `[B, 3, H, W]` in 0…1, `objects` `[B, H, W]` bool, `labels` `[B]` long."""

    pixels: Tensor
    objects: Tensor
    labels: Tensor


@dataclass
class Bench:
    """The model under test, from the file `path`, and its judge. `batch` pictures are drawn together."""

    path: Path
    model: Model
    judge: TrainedJudge
    batch: int
    precision: Precision = Precision(torch.float32)
    seed: int = 0
    reference: Reference = field(init=False)
    parameters: dict[str, int] = field(init=False)

    def __post_init__(self):
        networks = {"decoder": self.model.transformer, "tokenizer": self.model.tokenizer}
        self.parameters = {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}
        if tuple(self.model.class_names) != CLASSES:
            raise ValueError(
                f"The quality report judges the {len(CLASSES)} procedural classes; '{self.model.name}' draws "
                f"{len(self.model.class_names)} others ({', '.join(self.model.class_names[:3])}, …)."
            )
        self.reference = Reference(self.judge.reference_mean, self.judge.reference_covariance)
        pack(self.model.transformer, self.precision.bits)

    @property
    def side(self) -> int:
        """Pixels of a side of the model's own picture."""
        return self.model.transformer.config.grid * self.model.tokenizer.factor

    def options(
        self,
        pictures: range,
        guidance: Guidance | None = None,
        steps: int | None = None,
        order: str | None = None,
    ) -> DecodingOptions:
        """The model's defaults but for what is given."""
        defaults = self.model.defaults
        return DecodingOptions(
            guidance=self.model.guidance() if guidance is None else guidance,
            steps=steps or defaults.steps,
            seed=self.seed,
            sampling=Sampling(defaults.temperature),
            order=every_order()[order or defaults.order],
            pictures=pictures,
        )

    def pieces(self, count: int, title: str, batch: int | None = None) -> Iterator[range]:
        """0 … count − 1 in batches, with a progress bar."""
        batch = batch or self.batch
        with tqdm(total=count, desc=title, unit=" pictures", leave=False, disable=None) as bar:
            for start in range(0, count, batch):
                piece = range(start, min(start + batch, count))
                yield piece
                bar.update(len(piece))

    def decode(self, ids: Tensor) -> Tensor:
        """ids [B, h, w] -> pixels [B, 3, H, W] in 0…1, float32."""
        return self.model.tokenizer.decode(ids).float().clamp(0, 1)

    def scenes(self, pictures: range, bounds: Bounds = PORTRAIT) -> Scenes:
        """Fresh procedural pictures at the model's size, by default of the kind that it learnt to draw."""
        drawn = [picture_with_mask(EVALUATION_PICTURES, index, size=self.side, bounds=bounds) for index in pictures]
        pixels, objects, labels = zip(*drawn, strict=True)
        return Scenes(
            pixels_of(np.stack(pixels)), torch.from_numpy(np.stack(objects)), torch.tensor(labels, dtype=torch.long)
        )

    def drawn(self, count: int, title: str, **setting) -> dict:
        """The verdict on `count` pictures drawn from nothing; `setting` as in `options`."""
        return self.judged(
            (self.decode(self.generate(pictures, **setting).ids), classes_of(pictures))
            for pictures in self.pieces(count, title)
        )

    def generate(self, pictures: range, canvas: tuple[int, int] | None = None, **setting) -> Decoded:
        """Pictures drawn from nothing, on a `canvas` of other than the model's rows and columns where given."""
        options = self.options(pictures, **setting)
        return generate(self.model.transformer, classes_of(pictures), options, *(canvas or ()))

    def judged(self, batches: Iterator[tuple[Tensor, Tensor]]) -> dict:
        """How many of the pictures, batches of (pixels `[B, 3, H, W]`, wanted classes `[B]`), the judge recognises.

        With the Fréchet distance, and the seconds a picture took to make (not those to judge it).
        """
        seconds, verdicts, wanted = 0.0, [], []
        while True:
            began = time.perf_counter()
            made = next(batches, None)
            seconds += time.perf_counter() - began
            if made is None:
                break
            verdicts.append(self.judge.look(made[0]))
            wanted.append(made[1].numpy())
        wanted, features = np.concatenate(wanted), np.concatenate([verdict.features for verdict in verdicts])
        right = np.concatenate([verdict.classes for verdict in verdicts]) == wanted
        return {
            "right": int(right.sum()),
            "share": wilson(int(right.sum()), len(right)),
            "classes": {name: int(right[wanted == label].sum()) for label, name in enumerate(CLASSES)},
            "frechet": self.reference.interval(features, wanted),
            "seconds": seconds / len(right),
        }


def classes_of(pictures: range) -> Tensor:
    """The classes take turns."""
    return torch.tensor([picture % len(CLASSES) for picture in pictures])
