"""How much memory a task takes next to the weights."""

import torch

from ..decoding.options import DecodingOptions
from ..decoding.plan import sizes_for
from ..decoding.sampling import Sampling


def picture_bytes(
    model,
    options: DecodingOptions,
    rows: int,
    cells: int,
    known: int = 0,
    scored: bool = False,
    device: torch.device | None = None,
) -> int:
    """Bytes that one picture takes while it is decoded.

    model: a transformer of any family.
    options: steps, schedule and sampling.
    rows: of guidance.
    cells: of the picture.
    known: cells that the first call feeds.
    scored: whether a teacher-forced pass reads the whole picture first.
    device: that it is decoded on; None: where the weights are.

    That is the state of the decode and the peak of activations: of the logits or of a block's intermediates, whichever
    is more.
    """
    weight = next(model.parameters())
    element_bytes, on_cpu = weight.element_size(), (device or weight.device).type == "cpu"
    sizes = sizes_for(model, options, cells, known) or (0,)

    def peak(tokens: int, queries: int, sampling: Sampling | None) -> float:
        logits = logits_at_once(rows, sampling, on_cpu) * queries * model.config.codebook_size * 4
        return max(logits, model.call_bytes(rows, tokens, queries, element_bytes))

    calls = [(known, sizes[0]), (max(sizes), max(sizes))]
    decoded = model.state_bytes(rows, cells, element_bytes)
    decoded += max(peak(tokens, queries, options.sampling) for tokens, queries in calls)
    return int(max(decoded, peak(cells, cells, None) if scored else 0))


def logits_at_once(rows: int, sampling: Sampling | None, on_cpu: bool) -> int:
    """The most tensors `[n, V]` in float32 that one picture holds at once, from its logits to a token.

    Those of its rows are there until the end. Guidance adds one term after another, each by its difference and its
    product with the weight. Sampling holds the guided logits and with them the probabilities and their running sum, on
    a GPU in float64; top-p sorts them. Without `sampling` the tokens are only scored.
    """
    terms = rows - 1  # each but the first compares its row to one before it
    combined = rows + (0, 2, 3)[min(terms, 2)]
    if sampling is None:
        return combined
    guided = rows + min(terms, 1)
    return max(combined, guided + (7 if sampling.top_p < 1 else 2 if on_cpu else 3))
