"""Memory: a batch that doesn't fit runs in parts, and the memory of packed weights goes back to the system."""

import ctypes
import sys
import threading
import weakref
from collections.abc import Callable
from typing import TypeVar

import comfy.model_management
import comfy.model_patcher

from ..randar_core.runtime.out_of_memory import is_out_of_memory

T = TypeVar("T")


def split_to_fit(
    run: Callable[[int], T],
    batch: int,
    bytes_each: int,
    patcher: comfy.model_patcher.ModelPatcher,
    too_large: str,
    shared_bytes: int = 0,
) -> T:
    """`run(size)`, which works on `size` of a batch at a time: as many as fit, fewer where memory runs out.

    run: does all of the batch, `size` at a time.
    batch: the largest size.
    bytes_each: what one takes.
    patcher: that of the model that runs. It says what is free: with dynamic VRAM the host gives way as memory is asked
        for, while the device itself looks full.
    too_large: the words of the MemoryError where one alone doesn't fit. All models have left the device then.
    shared_bytes: what all take together.
    """
    free = max(0, patcher.get_free_memory(patcher.load_device) - shared_bytes)
    size = max(1, min(batch, int(free // max(1, bytes_each))))
    while True:
        try:
            return run(size)
        except Exception as error:
            if not (is_out_of_memory(error) or host_is_out_of_memory(error)):
                raise
        # Only here, outside the handler, has the traceback released what the run had allocated.
        comfy.model_management.soft_empty_cache()
        if size == 1:
            comfy.model_management.unload_all_models()  # as ComfyUI does where a node runs out of memory
            raise MemoryError(too_large)
        size = -(-size // 2)


def host_is_out_of_memory(error: Exception) -> bool:
    """What ComfyUI knows of errors beyond torch's own."""
    is_oom = getattr(comfy.model_management, "is_oom", None)  # not in ComfyUI 0.12
    return isinstance(error, comfy.model_management.OOM_EXCEPTION) or (is_oom is not None and is_oom(error))


def return_memory_of(owner: object) -> None:
    """Once `owner` is gone, hand its main memory back to the system.

    Packed weights are blocks of some megabytes, which glibc would keep for later allocations.
    """

    def soon() -> None:
        timer = threading.Timer(1, trim, [0])  # `owner` releases its members only after this
        timer.daemon = True
        timer.start()

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # only glibc has it
        weakref.finalize(owner, soon).atexit = False
