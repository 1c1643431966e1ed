"""How much memory a task takes beside the weights."""

from ..decoding.schedules import call_sizes
from .options import DecodingOptions


def picture_bytes(
    decoder, options: DecodingOptions, rows: int, cells: int, known: int = 0, scored: bool = False
) -> int:
    """Bytes that one picture of `cells` cells takes while it is decoded in `rows` rows of guidance.

    That is the KV cache and the peak of activations. `known` cells are given and fed in the first call. `scored`: a
    scoring pass reads the whole picture first.
    """
    config, size = decoder.config, next(decoder.parameters()).element_size()
    sizes = call_sizes(cells, options.steps, known, decoder.parallel) or [0]
    sorting = options.sampling.top_p < 1

    def peak(fed: int, asked: int, logits_at_once: float) -> float:
        # Logits in float32, as many of them as guidance and sampling hold at once, or the intermediates of a block, most
        # of which are in float32 whatever the dtype, as places are turned in it: whichever is more. All factors are
        # measured (benchmarks/memory.py).
        return rows * max(asked * config.codebook_size * 4 * logits_at_once, fed * config.width * (42 + 2 * size))

    cache = decoder.cache_bytes(rows, cells, size)
    inputs_and_angles = rows * (1 + 2 * cells) * (config.width * size + 8 * config.width // config.heads)
    fed = max(2 * known + sizes[0], 3 * max(sizes))
    decoded = cache + inputs_and_angles + peak(fed, max(sizes), 4.5 if sorting else 2.8)
    return int(max(decoded, peak(2 * cells, cells, 2.0) if scored else 0))
