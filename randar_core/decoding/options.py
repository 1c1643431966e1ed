"""How a task decodes: what every task is told next to its picture and its conditions."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .guidance import Guidance
from .orders import Order
from .sampling import Sampling
from .seeding import derived_seed

WINDOWS_TOGETHER = 16  # of a large picture: more at once gain little and take gigabytes


@dataclass(frozen=True)
class DecodingOptions:
    """How pictures are decoded. Raises ValueError for a batch size below 1.

    guidance: how strongly the conditions are enforced.
    steps: calls for a whole canvas from nothing; a partly known one takes fewer.
    seed: with `batch_index`, the source of all randomness of a picture.
    sampling: how a token is sampled from the logits.
    order: a function of `orders.py` or cell indices `[N]` or `[B, N]` of the task's canvas; None: the family's own.
    schedule: call sizes, a key of `schedule.SCHEDULES`; None: the family's own.
    batch_index: `[B]`, by default the index in the batch. With it a batch can be drawn in parts.
    batch_size: the largest number of pictures or windows that are decoded together; None: all.
    """

    guidance: Guidance
    steps: int
    seed: int
    sampling: Sampling = Sampling()
    order: Order | Tensor | None = None
    schedule: str | None = None
    batch_index: Sequence[int] | None = None
    batch_size: int | None = None

    def __post_init__(self):
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"The batch size is {self.batch_size}; at least 1 picture must be decoded at a time.")

    def indices(self, batch: int) -> list[int]:
        """The batch index of every picture of a batch. Raises ValueError where there are not as many."""
        if self.batch_index is None:
            return list(range(batch))
        if len(self.batch_index) != batch:
            raise ValueError(f"{len(self.batch_index)} batch indices were given for a batch of {batch}.")
        return [int(index) for index in self.batch_index]

    def window_seed(self, window: int) -> int:
        """The seed of a picture's `window`, counted from 0, for its random order and numbers.

        The first has the picture's own seed, so a picture of one window is drawn as the decode loop alone would.
        """
        return derived_seed(self.seed, "window", window) if window else self.seed
