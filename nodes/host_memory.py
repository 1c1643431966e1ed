"""Memory: a batch that doesn't fit runs in parts, and the memory of packed weights goes back to the system."""

import ctypes
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

import comfy.model_management
import comfy.model_patcher

from ..randar_core.runtime.out_of_memory import is_out_of_memory

T = TypeVar("T")

NO_ROOM = (
    "There is not enough memory for the weights of this model. Close other programs, choose a smaller model, or load "
    "this one with weight_dtype bf16."
)


def load(patchers: Sequence[comfy.model_patcher.ModelPatcher], needed: int) -> None:
    """Load the models of `patchers` with room for `needed` bytes of work.

    Raises MemoryError, in a user's words, where not even the weights fit. All models have left the device then.
    """
    try:
        comfy.model_management.load_models_gpu(list(patchers), memory_required=needed, force_full_load=True)
        return
    except Exception as error:
        if not memory_ran_out(error):
            raise
    # Outside the handler, as in `split_to_fit`. ComfyUI takes the models that it is to load out of its list before it
    # loads the first, so that `unload_all_models` doesn't see them.
    for patcher in patchers:
        patcher.detach()
    give_up(NO_ROOM)


def give_up(too_large: str) -> NoReturn:
    """Unload all models, as ComfyUI does where a node runs out of memory, and raise MemoryError in these words."""
    comfy.model_management.unload_all_models()
    comfy.model_management.soft_empty_cache()
    raise MemoryError(too_large)


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
            if not memory_ran_out(error):
                raise
        # Only here, outside the handler, has the traceback released what the run had allocated.
        if size == 1:
            give_up(too_large)
        comfy.model_management.soft_empty_cache()
        size = -(-size // 2)


def memory_ran_out(error: Exception) -> bool:
    """Whether an error says so, as torch, Python or ComfyUI report it."""
    is_oom = getattr(comfy.model_management, "is_oom", None)  # not in ComfyUI 0.12
    return (
        is_out_of_memory(error)
        or isinstance(error, comfy.model_management.OOM_EXCEPTION)
        or (is_oom is not None and is_oom(error))
    )


def fits_beside(
    patcher: comfy.model_patcher.ModelPatcher, others: Sequence[comfy.model_patcher.ModelPatcher], needed: int
) -> bool:
    """Whether the model of `patcher` fits into what is free beside the `others`, with nothing unloaded for it.

    needed: bytes for the work of all of them. A device that reads its weights where they are stored, as the CPU does,
    needs no room for them.
    """
    device = patcher.load_device
    missing = sum(
        max(0, each.model_size() - each.loaded_size())
        for each in (patcher, *others)
        if each.load_device == device != each.offload_device
    )
    # What ComfyUI keeps free too. It unloads other models where there is less.
    reserve = comfy.model_management.minimum_inference_memory()
    return 1.1 * missing + needed + reserve <= comfy.model_management.get_free_memory(device)


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
