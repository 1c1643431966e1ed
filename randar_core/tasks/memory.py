"""How much memory a task takes next to the weights."""

import torch

from ..decoding.options import DecodingOptions
from ..decoding.plan import sizes_for
from ..decoding.sampling import Sampling
from ..models.family import Call


def batch_bytes(
    model,
    options: DecodingOptions,
    rows: int,
    cells: int,
    known: int = 0,
    scored: bool = False,
    device: torch.device | None = None,
    pictures: int = 1,
    conditions: int | None = None,
    drawn: bool = True,
) -> int:
    """Bytes that pictures take while they are decoded or read together.

    model: a transformer of any family.
    options: steps, schedule and sampling.
    rows: of guidance, of each picture.
    cells: of each picture.
    known: cells that the first call feeds.
    scored: whether a teacher-forced pass reads the whole pictures first.
    device: that they are decoded on; None: where the weights are.
    pictures: how many.
    conditions: that are different, of all rows; None: every row has its own.
    drawn: whether the pictures are drawn; otherwise they are only read: for their scores, or without `scored` twice in
        one sequence, for their features.

    That is the state of the decode and the peak of activations: of the logits or of a block's intermediates, whichever
    is more.
    """
    weight = next(model.parameters())
    element_bytes, on_cpu = weight.element_size(), (device or weight.device).type == "cpu"
    sizes = sizes_for(model, options, cells, known) or (0,)
    all_rows = pictures * rows
    conditions = all_rows if conditions is None else min(conditions, all_rows)

    def peak(sampling: Sampling | None, tokens: int, queries: int, earlier: int = 0) -> int:
        logits = pictures * logits_at_once(rows, sampling, on_cpu) * queries * model.config.codebook_size * 4
        return max(logits, model.call_bytes(Call(all_rows, cells, conditions, tokens, queries, earlier), element_bytes))

    reading = peak(None, cells, cells) if scored else 0
    if not drawn:
        return reading or model.call_bytes(Call(all_rows, 2 * cells, conditions, 2 * cells, 0), element_bytes)
    first, later = peak(options.sampling, known, sizes[0]), peak(options.sampling, max(sizes), max(sizes), 1 + known)
    return max(reading, model.state_bytes(all_rows, cells, element_bytes, conditions) + max(first, later))


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
