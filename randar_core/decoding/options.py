"""How a task decodes: what every task is told beside its picture and its classes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .guidance import Guidance
from .loop import Decoded, OnCall
from .orders import Order, random
from .sampling import Sampling
from .seeding import stream

WINDOWS_TOGETHER = 16  # of a large picture: beyond that a batch gains little, and takes gigabytes


@dataclass(frozen=True)
class DecodingOptions:
    """`steps` are the calls of a whole canvas from nothing; a partly known one takes fewer.

    `order` is a function of `decoding/orders.py` or outright cell indices, `[N]` or `[B, N]`, of the task's canvas.
    `pictures` `[B]` are the indices from which, with `seed`, all randomness of a picture comes; by default its place in
    the batch, so that a batch may be drawn in pieces. `batch` limits the pictures or windows decoded together.
    `on_scored` is called, while pictures are scored, with how many windows are and how many there are; it may raise,
    for a score that was cut short would be none.
    """

    guidance: Guidance
    steps: int
    seed: int
    sampling: Sampling = Sampling()
    order: Order | Tensor = random
    pictures: Sequence[int] | None = None
    batch: int | None = None
    on_scored: Callable[[int, int], None] | None = None

    def picture(self, place: int) -> int:
        """The index of the picture at a `place` in the batch."""
        return place if self.pictures is None else int(self.pictures[place])

    def window_seed(self, window: int) -> int:
        """The seed of a picture's `window`, counted from 0, for its random order and numbers.

        The first has the picture's own, so that a picture of one window is drawn as the decode loop alone would.
        """
        return derived_seed(self.seed, "window", window) if window else self.seed


class Watch:
    """Hands the states of a decode's parts to `on_call` and remembers whether it asked to stop."""

    def __init__(self, on_call: OnCall | None):
        self.on_call = on_call
        self.stopped = False

    def through(self, form: Callable[[Decoded], Decoded]) -> OnCall | None:
        """The `on_call` of a part, whose states `form` makes those of the whole; None where nobody looks."""
        if self.on_call is None:
            return None

        def on_call(decoded: Decoded) -> bool:
            self.stopped = self.on_call(form(decoded)) is False
            return not self.stopped

        return on_call


def derived_seed(seed: int, *purpose: int | str) -> int:
    """A seed of its own for a `purpose` (see `randomness.stream`)."""
    return int(torch.randint(2**62, (), generator=stream(seed, *purpose)))


def check_batch(classes: Tensor, batch: int, options: DecodingOptions) -> None:
    """ValueError unless each of `batch` pictures has a class and a picture index, and one at least may be decoded."""
    if classes.shape != (batch,):
        raise ValueError(
            f"A batch of {batch} pictures needs {batch} class ids, one each; found the shape {list(classes.shape)}."
        )
    if options.pictures is not None and len(options.pictures) != batch:
        raise ValueError(f"{len(options.pictures)} picture indices were given for a batch of {batch}.")
    if options.batch is not None and options.batch < 1:
        raise ValueError(f"At most {options.batch} pictures are to be decoded together; the least is 1.")


def one_each(**batches: Tensor) -> list[Tensor]:
    """Batches of the same length: those of one entry repeat it. ValueError, by their names, where they don't match."""
    most = max(batches, key=lambda name: len(batches[name]))
    longest = len(batches[most])
    for name, values in batches.items():
        if len(values) not in (1, longest):
            raise ValueError(f"{len(values)} {name} don't match {longest} {most}: give 1 or {longest} of them.")
    return [values.expand(longest, *values.shape[1:]) for values in batches.values()]


def check_pixels(pixels: Tensor) -> None:
    """ValueError unless `pixels` are `[B, C, H, W]` with three colours or three and alpha, and at least one pixel."""
    if pixels.ndim != 4 or pixels.shape[1] not in (3, 4) or not pixels.numel():
        raise ValueError(
            f"The picture has the shape {list(pixels.shape)}; expected [batch, 3 colours or 4, height, width]."
        )
