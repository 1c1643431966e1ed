"""How much memory the passes of a task take next to the weights."""

import torch

from ..decoding.conditions import PictureGroup
from ..decoding.options import DecodingOptions
from ..decoding.plan import sizes_for
from ..decoding.sampling import Sampling
from ..models.family import Call


def decode_bytes(
    model,
    options: DecodingOptions,
    group: PictureGroup,
    cells: int,
    known: int = 0,
    device: torch.device | None = None,
) -> int:
    """Bytes that pictures take while they are drawn together.

    model: a transformer of any family.
    options: steps, schedule and sampling.
    group: the pictures.
    cells: of each picture.
    known: cells that the first call feeds.
    device: that they are decoded on; None: where the weights are.

    That is the state of the decode and the peak of activations: of the logits or of a block's intermediates, whichever
    is more.
    """
    weight = next(model.parameters())
    on_cpu = (device or weight.device).type == "cpu"
    sizes = sizes_for(model, options, cells, known) or (0,)

    def peak(tokens: int, queries: int, earlier: int = 0) -> int:
        logits = logits_bytes(model, group, queries, logits_at_once(group.rows, options.sampling, on_cpu))
        return max(logits, pass_bytes(model, group, cells, tokens, queries, earlier))

    first = peak(known, sizes[0])
    later = peak(max(sizes[:-1]), max(sizes[1:]), 1 + known) if len(sizes) > 1 else 0
    all_rows = group.pictures * group.rows
    return model.state_bytes(all_rows, cells, weight.element_size(), group.conditions) + max(first, later)


def score_bytes(model, group: PictureGroup, cells: int) -> int:
    """Bytes that pictures take while they are scored together, in a teacher-forced pass over all their `cells`."""
    logits = logits_bytes(model, group, cells, logits_at_once(group.rows))
    return max(logits, pass_bytes(model, group, cells, cells, cells))


def feature_bytes(model, group: PictureGroup, cells: int) -> int:
    """Bytes that pictures take while their features are read: their `cells` twice over in one sequence, no logits."""
    return pass_bytes(model, group, 2 * cells, 2 * cells, 0)


def pass_bytes(model, group: PictureGroup, cells: int, tokens: int, queries: int, earlier: int = 0) -> int:
    """Bytes of a block's intermediates, see `Call`."""
    call = Call(group.pictures * group.rows, cells, group.conditions, tokens, queries, earlier)
    return model.call_bytes(call, next(model.parameters()).element_size())


def logits_bytes(model, group: PictureGroup, queries: int, at_once: int) -> int:
    return group.pictures * at_once * queries * model.config.codebook_size * 4


def logits_at_once(rows: int, sampling: Sampling | None = None, on_cpu: bool = False) -> int:
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
