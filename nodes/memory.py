"""Memory: how a batch that doesn't fit is split and finished, and how a model's goes back to the system."""

import ctypes
import sys
import threading
import weakref
from collections.abc import Callable
from typing import TypeVar

import comfy.model_management
import comfy.model_patcher

from ..randar_core.runtime import memory as core_memory

T = TypeVar("T")


def split_to_fit(
    run: Callable[[int], T],
    batch: int,
    bytes_each: int,
    patcher: comfy.model_patcher.ModelPatcher,
    too_large: str,
    taken: int = 0,
) -> T:
    """`run(size)`, which works on `size` of `batch` pieces at a time: as many as fit, fewer where memory runs out.

    What is free is what the `patcher` of the model that runs says: with dynamic VRAM the host gives way as memory is
    asked for, while the device itself looks full. `taken` bytes of that are for all pieces together (below 0: so much
    more will be free). Raises MemoryError with the words of `too_large` where one piece alone doesn't fit; all models
    have left the device then.
    """
    free = max(0, patcher.get_free_memory(patcher.load_device) - taken)
    size = max(1, min(batch, int(free // max(1, bytes_each))))
    while True:
        try:
            return run(size)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        # Only here, outside of the handler, has the traceback let go of what the run had allocated.
        comfy.model_management.soft_empty_cache()
        if size == 1:
            comfy.model_management.unload_all_models()  # as the host does where a node runs out, to begin anew
            raise MemoryError(too_large)
        size = -(-size // 2)


def return_memory_of(owner: object) -> None:
    """Once `owner` is gone, hand the main memory that it held back to the system.

    Packed weights lie in pieces of some megabytes, which glibc would keep for later allocations.
    """

    def soon() -> None:
        timer = threading.Timer(1, trim, [0])  # `owner` lets go of its parts only after this
        timer.daemon = True
        timer.start()

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # other C libraries than glibc lack it
        weakref.finalize(owner, soon).atexit = False


def is_out_of_memory(error: Exception) -> bool:
    host_knows = getattr(comfy.model_management, "is_oom", None)  # not in ComfyUI 0.12
    if host_knows is not None and host_knows(error):
        return True
    return isinstance(error, comfy.model_management.OOM_EXCEPTION) or core_memory.is_out_of_memory(error)
