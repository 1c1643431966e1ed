"""The account of a feigned GPU's memory, and of what moves to it and from it, see `feigned_gpu`."""

import weakref
from dataclasses import dataclass, field

import torch
from torch import Tensor

NAME = "card"


class Share:
    """What the tensors of one storage hold together: its `size` bytes are taken as long as one of them lives."""

    __slots__ = ("memory", "key", "size", "__weakref__")

    def __init__(self, memory: "Memory", key: int, size: int):
        self.memory, self.key, self.size = memory, key, size

    def __del__(self):
        del self.memory.shares[self.key]
        self.memory.live -= self.size


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
    shares: dict[int, weakref.ref[Share]] = field(default_factory=dict)  # by the addresses of the storages

    def share(self, inner: Tensor) -> Share:
        """That of the storage of `inner`, which is counted until the last tensor of it is gone."""
        storage = inner.untyped_storage()
        key = storage._cdata
        known = self.shares.get(key)
        if known is not None:
            return known()
        size = storage.nbytes()
        self.allocate(size)
        share = Share(self, key, size)
        self.shares[key] = weakref.ref(share)
        return share

    def allocate(self, size: int) -> None:
        self.allocations += 1
        if self.allocations == self.failing or (self.limit is not None and self.live + size > self.limit):
            raise torch.OutOfMemoryError(f"{NAME} out of memory. Tried to allocate {size} bytes beside {self.live}.")
        self.live += size
        if self.live > self.peak:
            self.peak = self.live
            self.peaks.append(self.peak)


@dataclass(frozen=True)
class Transfer:
    """A copy between the CPU and the GPU: the operator that made it, the dtype and the bytes."""

    operator: str
    dtype: torch.dtype
    bytes: int


def transfer_of(operator: str, source: Tensor) -> Transfer:
    return Transfer(operator, source.dtype, source.numel() * source.element_size())
