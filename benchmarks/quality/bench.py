"""What the sections of the quality report share: the model under test, sampling from it, and the judge's figures."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from quality.intervals import Reference, wilson
from quality.judge import TrainedJudge
from quality.parts import picture_with_parts, subject_of
from torch import Tensor
from tqdm import tqdm

from randar_core.checkpoints.model import Model, open_model
from randar_core.decoding.guidance import Guidance, Linear
from randar_core.decoding.loop import DecodeProgress
from randar_core.decoding.options import DecodingOptions
from randar_core.decoding.orders import ORDERS, Order, Painted
from randar_core.io.images import to_float
from randar_core.procedural.landscape.pictures import CLASSES
from randar_core.runtime.packed_linear import pack
from randar_core.runtime.precision import Precision
from randar_core.tasks.generate import generate

EVALUATION_PICTURES = 71_004
"""Seed of the landscapes that are encoded, scored and edited. Neither model nor judge was trained on them."""

EXTRAPOLATION_GUIDANCE = Guidance(Linear(3.0, 3.0), Linear(2.5, 2.5))
"""The authors' constant weights for extrapolation (RandAR, section 3.4)."""

PAINTED = "painted, left to right"

Measure = Callable[[], dict]


def every_order() -> dict[str, Order]:
    """The named orders, and a painted one: a ramp that takes columns in turn, and the cells of a column at random."""
    return ORDERS | {PAINTED: Painted(torch.linspace(1, 0, 64)[None])}


@dataclass(frozen=True)
class Row:
    """One row of a section. `measure` returns its figures over `count` pictures.

    Its record in quality.json stands under `key`. `title` is shown in the table. A record with another `fingerprint`
    is measured again: it is the hash of a file that this row alone depends on.
    """

    key: str
    title: str
    count: int
    measure: Measure
    fingerprint: str | None = None


@dataclass(frozen=True)
class Scope:
    """What a run measures: `samples` pictures in the headline row, shares of it in others, and what is compared.

    `orders`, `schedules` and `calls` are compared on the model under test; `models` are files that are compared with
    each other at `family_calls`. Counts are whole rounds of the classes.
    """

    samples: int
    orders: tuple[str, ...] = ("random", "locality-aware", "proximity", "halton")
    schedules: tuple[str, ...] = ("cosine", "sorted cosine", "arccos")
    calls: tuple[int, ...] = (16, 20, 32, 88)
    models: tuple[Path, ...] = ()
    family_calls: tuple[int, ...] = (8, 16, 20, 32, 64)

    def share(self, part: float) -> int:
        return max(1, round(self.samples * part / len(CLASSES))) * len(CLASSES)

    @property
    def headline(self) -> int:
        return self.share(1)

    @property
    def compared(self) -> int:
        """For small differences."""
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
        """Whether the run is only to show that everything runs."""
        return self.samples < 100


@dataclass(frozen=True)
class Scenes:
    """Drawn landscapes: `pixels` `[B, 3, H, W]` in 0…1 and `labels` `[B]` long.

    `subjects` `[B, H, W]` bool is what the class is known by: the castle, the peaks, the water of the sea.
    """

    pixels: Tensor
    subjects: Tensor
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
    parameters: dict[str, int] = field(init=False)

    def __post_init__(self):
        networks = {"transformer": self.model.transformer, "tokenizer": self.model.tokenizer}
        self.parameters = {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}
        if tuple(self.model.class_names) != CLASSES:
            raise ValueError(
                f"The quality report judges the {len(CLASSES)} classes of landscapes; '{self.model.name}' draws "
                f"{len(self.model.class_names)} others ({', '.join(self.model.class_names[:3])}, …)."
            )
        pack(self.model.transformer, self.precision.bits)

    @classmethod
    def open(cls, path: Path, judge: TrainedJudge, batch: int, precision: Precision) -> "Bench":
        """The bench of a file, on the CPU."""
        return cls(path, open_model(path).build(torch.device("cpu"), precision.dtype), judge, batch, precision)

    @property
    def grid(self) -> int:
        """Cells of a side of the model's own picture."""
        return self.model.transformer.config.grid

    @property
    def side(self) -> int:
        """Pixels of a side of the model's own picture."""
        return self.grid * self.model.tokenizer.factor

    def reference(self, labels: np.ndarray) -> Reference:
        """What pictures of these classes are compared with."""
        return Reference.of_classes(self.judge.means[labels], self.judge.covariances[labels])

    def options(self, pictures: range, **changes) -> DecodingOptions:
        """The model's defaults with `changes` to fields of `DecodingOptions`; `order` may be a name."""
        if isinstance(changes.get("order"), str):
            changes["order"] = every_order()[changes["order"]]
        return self.model.options(self.seed, batch_index=pictures, **changes)

    def batches(self, count: int, title: str, size: int | None = None) -> Iterator[range]:
        """0 … count − 1 in batches, with a progress bar."""
        size = max(1, size or self.batch)
        with tqdm(total=count, desc=title, unit=" pictures", leave=False, disable=None) as bar:
            for start in range(0, count, size):
                pictures = range(start, min(start + size, count))
                yield pictures
                bar.update(len(pictures))

    def decode(self, ids: Tensor) -> Tensor:
        """ids [B, h, w] -> pixels [B, 3, H, W] in 0…1, float32."""
        return self.model.tokenizer.decode(ids).float().clamp(0, 1)

    def scenes(self, pictures: range, classes: Sequence[int] = range(len(CLASSES))) -> Scenes:
        """Fresh landscapes at the model's size, of `classes` (ids) in turn."""
        labels = classes_of(pictures, classes)
        drawn = [
            picture_with_parts(EVALUATION_PICTURES, index, label, self.side)
            for index, label in zip(pictures, labels.tolist(), strict=True)
        ]
        subjects = [subject_of(numbers, parts, label) for _, numbers, parts, label in drawn]
        return Scenes(to_float(np.stack([each[0] for each in drawn])), torch.from_numpy(np.stack(subjects)), labels)

    def generate(self, pictures: range, canvas: tuple[int, int] | None = None, **changes) -> DecodeProgress:
        """Generated pictures, on a `canvas` of other rows and columns than the model's if one is passed."""
        return generate(
            self.model.transformer, classes_of(pictures), self.options(pictures, **changes), *(canvas or ())
        )

    def judged_samples(self, count: int, title: str, **changes) -> dict:
        """The judge's figures on `count` generated pictures; `changes` as in `options`."""
        return self.judged(
            (self.decode(self.generate(pictures, **changes).ids), classes_of(pictures))
            for pictures in self.batches(count, title)
        )

    def judged(self, batches: Iterable[tuple[Tensor, Tensor]]) -> dict:
        """How many pictures the judge recognises, in batches of (pixels `[B, 3, H, W]`, class ids `[B]`).

        With the Fréchet distance, and the seconds that it took to make a picture, without judging it.
        """
        seconds, verdicts, labels = 0.0, [], []
        batches = iter(batches)
        while True:
            began = time.perf_counter()
            made = next(batches, None)
            seconds += time.perf_counter() - began
            if made is None:
                break
            verdicts.append(self.judge.look(made[0]))
            labels.append(made[1].numpy())
        labels, features = np.concatenate(labels), np.concatenate([verdict.features for verdict in verdicts])
        right = np.concatenate([verdict.classes for verdict in verdicts]) == labels
        return {
            "right": int(right.sum()),
            "share": wilson(int(right.sum()), len(right)),
            "classes": {name: int(right[labels == label].sum()) for label, name in enumerate(CLASSES)},
            "frechet": self.reference(np.unique(labels)).interval(features, labels),
            "seconds": seconds / len(right),
        }


def classes_of(pictures: range, classes: Sequence[int] = range(len(CLASSES))) -> Tensor:
    """Class ids `[B]`, in turn."""
    return torch.tensor([classes[picture % len(classes)] for picture in pictures])
