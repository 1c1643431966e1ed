"""How much memory a task takes next to the weights."""

from ..decoding.options import DecodingOptions
from ..decoding.plan import sizes_for

# Copies of the logits in float32 that guidance and sampling hold at once, as measured (benchmarks/speed/memory.py).
LOGITS_AT_ONCE = 3.1
LOGITS_AT_ONCE_WITH_TOP_P = 4.5  # which sorts them
LOGITS_AT_ONCE_WHILE_SCORING = 2.0


def picture_bytes(model, options: DecodingOptions, rows: int, cells: int, known: int = 0, scored: bool = False) -> int:
    """Bytes that one picture takes while it is decoded.

    model: a transformer of any family.
    options: steps, schedule and sampling.
    rows: of guidance.
    cells: of the picture.
    known: cells that the first call feeds.
    scored: whether a teacher-forced pass reads the whole picture first.

    That is the state of the decode and the peak of activations: of the logits or of a block's intermediates, whichever
    is more.
    """
    element_bytes = next(model.parameters()).element_size()
    sizes = sizes_for(model, options, cells, known) or (0,)

    def peak(tokens: int, queries: int, logits_at_once: float) -> float:
        logits = rows * queries * model.config.codebook_size * 4 * logits_at_once
        return max(logits, model.call_bytes(rows, tokens, queries, element_bytes))

    logits_at_once = LOGITS_AT_ONCE_WITH_TOP_P if options.sampling.top_p < 1 else LOGITS_AT_ONCE
    calls = [(known, sizes[0]), (max(sizes), max(sizes))]
    decoded = model.state_bytes(rows, cells, element_bytes)
    decoded += max(peak(tokens, queries, logits_at_once) for tokens, queries in calls)
    return int(max(decoded, peak(cells, cells, LOGITS_AT_ONCE_WHILE_SCORING) if scored else 0))
