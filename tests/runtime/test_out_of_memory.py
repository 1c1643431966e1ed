"""Which errors say that memory ran out."""

import pytest
import torch

from randar_core.runtime.out_of_memory import is_out_of_memory


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB, max allowed: 9.07 GB)."),
        RuntimeError("Invalid buffer size: 24.00 GiB"),
        RuntimeError("CUDA error: out of memory"),
    ],
)
def test_memory_that_ran_out_is_recognised_on_every_device(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [ValueError("The run is out of memory cards."), RuntimeError("shape mismatch")])
def test_other_errors_are_none_of_memory(error):
    assert not is_out_of_memory(error)
