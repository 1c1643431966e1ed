"""The account of a feigned GPU's memory, see `feigned_gpu`."""

import weakref
from dataclasses import dataclass, field

import torch
from torch import Tensor

NAME = "card"


class Hold(weakref.ref):
    """A tensor that keeps a storage of `size` bytes alive."""

    __slots__ = ("key", "size")


@dataclass
class Memory:
    """The account of one GPU: bytes of the storages that its tensors hold.

    live, peak: now, and at most so far.
    peaks: what `peak` has been, each one an allocation that a limit just below it stops first.
    limit: an allocation beyond it raises torch.OutOfMemoryError; None: there is none.
    allocations: storages that were asked for so far.
    failing: the number of an allocation, counted as `allocations`, that raises as if another program had taken all.
    """

    live: int = 0
    peak: int = 0
    peaks: list[int] = field(default_factory=list)
    limit: int | None = None
    allocations: int = 0
    failing: int | None = None
    holders: dict[int, int] = field(default_factory=dict)  # tensors of each storage, by its address
    holds: dict[int, Hold] = field(default_factory=dict)  # by their own address

    def hold(self, inner: Tensor) -> None:
        """Count the storage of `inner` until the last tensor of it is gone."""
        storage = inner.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self.holders:
            self.allocate(size)
            self.holders[key] = 0
        self.holders[key] += 1
        hold = Hold(inner, self.release)
        hold.key, hold.size = key, size
        self.holds[id(hold)] = hold

    def allocate(self, size: int) -> None:
        self.allocations += 1
        if self.allocations == self.failing or (self.limit is not None and self.live + size > self.limit):
            raise torch.OutOfMemoryError(f"{NAME} out of memory. Tried to allocate {size} bytes beside {self.live}.")
        self.live += size
        if self.live > self.peak:
            self.peak = self.live
            self.peaks.append(self.peak)

    def release(self, hold: Hold) -> None:
        del self.holds[id(hold)]
        self.holders[hold.key] -= 1
        if not self.holders[hold.key]:
            del self.holders[hold.key]
            self.live -= hold.size
