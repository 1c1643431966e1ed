"""Memory: what a decode needs beside the weights, and how a batch that doesn't fit is split and finished."""

from collections.abc import Callable
from typing import TypeVar

import comfy.model_management
import torch

from ..randar_core.decoding.schedules import call_sizes
from ..randar_core.tasks.options import DecodingOptions

T = TypeVar("T")


def split_to_fit(run: Callable[[int], T], batch: int, bytes_each: int, device: torch.device, too_large: str) -> T:
    """`run(size)`, which works on `size` of `batch` pieces at a time: as many as fit, fewer where memory runs out.

    Raises MemoryError with the words of `too_large` where one piece alone doesn't fit.
    """
    free = comfy.model_management.get_free_memory(device)
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
            raise MemoryError(too_large)
        size = -(-size // 2)


def is_out_of_memory(error: Exception) -> bool:
    host_knows = getattr(comfy.model_management, "is_oom", None)  # not in ComfyUI 0.12
    if host_knows is not None and host_knows(error):
        return True
    if isinstance(error, (comfy.model_management.OOM_EXCEPTION, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


def picture_bytes(
    decoder, options: DecodingOptions, rows: int, cells: int, known: int = 0, scored: bool = False
) -> int:
    """Bytes that one picture of `cells` cells takes while it is decoded in `rows` rows of guidance.

    That is the KV cache and the peak of activations. `known` cells are given and fed in the first call. `scored`: a
    scoring pass reads the whole picture first.
    """
    config = decoder.config
    sizes = call_sizes(cells, options.steps, known, decoder.parallel) or [0]
    asked = max(sizes)
    fed = max(2 * known + sizes[0], 3 * asked)
    if scored:
        fed, asked = max(fed, 2 * cells), max(asked, cells)
    size = next(decoder.parameters()).element_size()
    cache = decoder.cache_bytes(rows, cells, size)
    places = rows * cells * (config.width * size + 8 * config.width // config.heads)
    # Logits in float32 and what guidance and sampling hold of them at once (sorting for top-p the most); or the
    # intermediates of a block, whichever is more. The factors are measured: benchmarks/memory.py.
    sampled = rows * asked * config.codebook_size * 4 * (4.5 if options.sampling.top_p < 1 else 2.8)
    block = rows * fed * config.width * 12 * size
    return int(cache + places + max(sampled, block))
