"""Draw the least confident cells of a picture again."""

from dataclasses import replace

import torch
from torch import Tensor

from ..decoding.canvas import Canvas
from ..decoding.conditions import PromptBatch
from ..decoding.loop import DecodeProgress, OnStep
from ..decoding.options import DecodingOptions
from ..decoding.windows import mapped
from .confidence import OnScore, remask_least_confident, score_confidence
from .fill import fill


@torch.no_grad()
def refine(
    model,
    ids: Tensor,
    prompts: Tensor | PromptBatch,
    options: DecodingOptions,
    share: float | None = None,
    below: float | None = None,
    rounds: int = 1,
    confidence: Tensor | None = None,
    fixed: Tensor | None = None,
    on_step: OnStep | None = None,
    on_score: OnScore | None = None,
) -> DecodeProgress:
    """Remask the least confident cells of `ids` `[B, h, w]` and draw them again, all others known; `rounds` times.

    model: a transformer of any family.
    prompts: class ids `[B]` or `PromptBatch`.
    options: how to decode.
    share, below: draw the least confident share of the cells again, or the cells below a probability.
    rounds: how often; the confidence is scored again before each round.
    confidence: `[B, h, w]`, for the first round in place of a scoring pass.
    fixed: `[B, h, w]` bool, cells that stay in every round; the share is one of the others.
    on_step, on_score: hear of the calls and of the scored windows.

    The confidence of the result is that of the last scoring for cells that weren't drawn in the last round. Raises
    ValueError for less than one round and as `remask_least_confident` does.
    """
    if rounds < 1:
        raise ValueError(f"{rounds} rounds were asked for; refining takes at least 1.")
    fixed = torch.zeros_like(ids, dtype=torch.bool) if fixed is None else fixed
    done = 0
    for pass_index in range(1, rounds + 1):
        picture = Canvas(ids, fixed)
        if pass_index > 1 or confidence is None:
            confidence = score_confidence(model, picture, prompts, options, pass_index, on_score=on_score)
        confidence = confidence.to(ids.device)
        canvas = remask_least_confident(picture, confidence, share, below)

        def of_all_rounds(
            progress: DecodeProgress, known=canvas.known, scored=confidence, before=done, left=rounds - pass_index
        ) -> DecodeProgress:
            return replace(
                progress,
                confidence=torch.where(known, scored, progress.confidence),
                call=before + progress.call,
                calls=before + progress.calls * (1 + left),  # later rounds are taken to be as long as this one
            )

        progress = of_all_rounds(
            fill(model, canvas, prompts, options, pass_index=pass_index, on_step=mapped(on_step, of_all_rounds))
        )
        ids, done = progress.ids, progress.call
        if progress.stopped:
            return progress
    return replace(progress, calls=done)
