"""Draw again what the model is least sure of."""

from dataclasses import replace

import torch
from torch import Tensor

from ..decoding.canvas import Canvas
from ..decoding.loop import Decoded, OnCall
from ..decoding.options import DecodingOptions, Watch
from ..decoding.windows import fill
from .confidence import forget_unsure, sureness


@torch.no_grad()
def refine(
    model,
    ids: Tensor,
    classes: Tensor,
    options: DecodingOptions,
    share: float | None = None,
    below: float | None = None,
    rounds: int = 1,
    confidence: Tensor | None = None,
    kept: Tensor | None = None,
    overlap: int | None = None,
    on_call: OnCall | None = None,
) -> Decoded:
    """Forget the least sure cells of `ids` `[B, h, w]` and draw them again, everything else known; `rounds` times.

    Forgotten are the least sure `share`, or the cells `below` a probability. How sure the model is comes from a scoring
    pass, in the first round from `confidence` `[B, h, w]` where it is given. Cells that are `kept` (`[B, h, w]` bool,
    by default none) stay in every round, and the share is one of the others. The confidence of the result is that of
    the last scoring for cells that weren't drawn in the last round. Raises ValueError for no rounds and as
    `forget_unsure` does.
    """
    if rounds < 1:
        raise ValueError(f"{rounds} rounds were asked for; refining takes at least 1.")
    kept = torch.zeros_like(ids, dtype=torch.bool) if kept is None else kept
    sure, done, watch = confidence, 0, Watch(on_call)
    for turn in range(1, rounds + 1):
        picture = Canvas(ids, kept)
        if turn > 1 or sure is None:
            sure = sureness(model, picture, classes, options, turn)
        sure = sure.to(ids.device)
        canvas = forget_unsure(picture, sure, share, below)

        def with_rounds(decoded: Decoded, known=canvas.known, sure=sure, before=done, left=rounds - turn) -> Decoded:
            return replace(
                decoded,
                confidence=torch.where(known, sure, decoded.confidence),
                call=before + decoded.call,
                calls=before + decoded.calls * (1 + left),  # later rounds are taken to be as long as this one
            )

        decoded = with_rounds(fill(model, canvas, classes, options, overlap, turn, watch.through(with_rounds)))
        ids, done = decoded.ids, decoded.call
        if watch.stopped:
            return decoded
    return replace(decoded, calls=done)
