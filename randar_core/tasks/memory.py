"""How much memory a task takes beside the weights."""

from ..decoding.options import DecodingOptions
from ..decoding.schedule import call_sizes


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
        # Logits in float32, as many of them as guidance and sampling hold at once, or the intermediates of a block,
        # whichever is more. The factors are measured (benchmarks/memory.py).
        return rows * max(asked * config.codebook_size * 4 * logits_at_once, fed * config.width * in_block)

    in_block = decoder.block_bytes(size)
    kept = decoder.cache_bytes(rows, cells, size) + decoder.input_bytes(rows, cells, size)
    fed = max(2 * known + sizes[0], 3 * max(sizes))
    decoded = kept + peak(fed, max(sizes), 4.5 if sorting else 2.8)
    return int(max(decoded, peak(2 * cells, cells, 2.0) if scored else 0))
