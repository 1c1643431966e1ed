"""What tests of tasks share: a small random model and its tokenizer, pictures, and a watcher of the calls."""

from dataclasses import dataclass

import torch
from hypothesis import strategies as st

from randar_core.decoding.canvas import Canvas
from randar_core.decoding.conditions import PromptBatch
from randar_core.decoding.guidance import Guidance, Linear
from randar_core.decoding.loop import decode
from randar_core.decoding.options import DecodingOptions
from randar_core.decoding.plan import make_plan
from randar_core.models.llamagen import LlamaGenTokenizer

GRID, FACTOR, CODES, CLASSES = 4, 2, 32, 3
OPTIONS = DecodingOptions(Guidance(Linear(1, 3)), steps=4, seed=7)
SIZE = GRID * FACTOR


def randomised(module: torch.nn.Module, scale: float) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * scale
    return module.requires_grad_(False)


def picture(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def random_ids(*shape: int) -> torch.Tensor:
    return torch.randint(CODES, shape, generator=torch.Generator().manual_seed(1))


def classes(batch: int) -> torch.Tensor:
    return torch.arange(batch) % CLASSES


def plainly(model, canvas: Canvas, options: DecodingOptions = OPTIONS) -> torch.Tensor:
    """Ids by the decode loop alone, without any task."""
    conditions = PromptBatch.of(classes(canvas.batch)).on_cells(GRID, GRID)
    with torch.no_grad():
        return decode(model, canvas, make_plan(model, canvas.known, options), conditions, options).ids


class Recorder:
    """An `on_step` that copies what it sees, and stops after so many calls."""

    def __init__(self, stop_after: int | None = None):
        self.calls, self.known, self.stop_after = [], [], stop_after

    def __call__(self, progress):
        self.calls.append((progress.call, progress.calls))
        self.known.append(progress.known.clone())
        return self.stop_after is None or progress.call < self.stop_after

    def check(self):
        """Calls are counted from 1 to the end, and cells are only ever added."""
        total = self.calls[0][1]
        assert self.calls == [(call, total) for call in range(1, total + 1)]
        for before, after in zip(self.known, self.known[1:], strict=False):
            assert (after | ~before).all()


@dataclass(frozen=True)
class Shifted:
    """A tokenizer whose pictures come back too bright by `amount`."""

    tokenizer: LlamaGenTokenizer
    amount: float

    def encode(self, pixels):
        return self.tokenizer.encode(pixels)

    def decode(self, ids):
        return 0.3 + 0.3 * self.tokenizer.decode(ids).clamp(0, 1) + self.amount

    @property
    def factor(self):
        return self.tokenizer.factor


# Sizes of pictures. Above 64 pixels regions are told apart in blocks.
sizes = st.one_of(
    st.tuples(st.just(1), st.integers(1, 30)),
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.sampled_from([(1, 80), (70, 3)]),
)
