"""The one decode loop: it fills the unknown cells of a canvas, call by call, whatever the task or the model family."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from einops import rearrange, repeat
from torch import Tensor

from ..models.family import TokenModel
from .canvas import Canvas
from .conditions import ConditionMap, row_embeddings
from .guidance import Rule
from .options import DecodingOptions
from .plan import Plan
from .sampling import confidence_of, probabilities, sample


@dataclass(frozen=True)
class DecodeProgress:
    """The state of a decode: `ids` `[B, h, w]`, `known` `[B, h, w]` (the cells that are set), `confidence` `[B, h, w]`.

    The confidence of a cell is the probability of its token under the guided logits at temperature 1, before top-k and
    top-p; 1 where the token was known before, 0 where none is set. A callback gets the live tensors: copy what you
    keep. `stopped` says that the callback ended the decode.
    """

    ids: Tensor
    known: Tensor
    confidence: Tensor
    call: int
    calls: int
    stopped: bool = False


OnStep = Callable[[DecodeProgress], bool | None]  # False stops the decode


@torch.no_grad()
def decode(
    model: TokenModel,
    canvas: Canvas,
    plan: Plan,
    conditions: Sequence[ConditionMap],
    options: DecodingOptions,
    context_mask: Tensor | None = None,
    on_step: OnStep | None = None,
) -> DecodeProgress:
    """Fill the unknown cells of `canvas` by `plan`; after each call `on_step` sees the whole batch and may stop it.

    model: a transformer of any family.
    conditions: one for each picture.
    options: guidance, sampling and batch size.
    context_mask: `[B, N]` by cell, 0 where rows with a masked context don't see the token.

    Pictures of equal call sizes and equally many conditions are decoded together, at most `options.batch_size` at a
    time, so that no picture depends on its neighbours. Runs on the device of `canvas`. Raises ValueError as
    `check_canvas` does, and where the logits are not finite.
    """
    check_canvas(model, canvas, conditions)
    device = canvas.ids.device
    ids, known = canvas.ids.flatten(1).clone(), canvas.known.flatten(1).clone()
    confidence = known.to(torch.float32)
    order = plan.order.to(device)
    noise = plan.noise.to(device).gather(1, order)
    groups = decode_groups(plan, conditions, options.batch_size)
    calls, call = sum(len(plan.sizes[group[0]]) for group in groups), 0
    grid = {"h": canvas.ids.shape[1], "w": canvas.ids.shape[2]}

    def progress(stopped: bool = False) -> DecodeProgress:
        tensors = (rearrange(t, "b (h w) -> b h w", **grid) for t in (ids, known, confidence))
        return DecodeProgress(*tensors, call, calls, stopped)

    for group in groups:
        sizes = plan.sizes[group[0]]
        index = torch.tensor(group, dtype=torch.long, device=device)
        own_order, own_noise = order[index], noise[index]
        own_conditions = [conditions[i] for i in group]
        rule = rule_of(options, own_conditions)
        state = model.start(**row_arguments(model, rule, own_conditions, own_order, context_mask, index))
        done = canvas.cells - sum(sizes)
        # The weights of all calls at once: each transfer to the device makes the host wait.
        weights = token_weights(model, rule, own_conditions, plan.order[group], sizes).to(device)
        new_ids, first = ids[index].gather(1, own_order[:, :done]), 0
        drawn = torch.ones(len(group), max(sizes), dtype=torch.bool, device=device)
        for size in sizes:
            logits = model.step(state, repeat(new_ids, "b m -> (g b) m", g=len(rule.rows)), size)
            logits = rearrange(logits, "(g b) n v -> g b n v", b=len(group))
            guided = rule.combine(logits, weights[:, :, first : first + size])
            new_ids = sample(probabilities(guided, options.sampling), own_noise[:, done : done + size])
            cells = own_order[:, done : done + size]
            ids[index[:, None], cells] = new_ids
            # A tensor and not True: a scalar would be copied to the device, and the host would wait for that.
            known[index[:, None], cells] = drawn[:, :size]
            confidence[index[:, None], cells] = confidence_of(guided, new_ids)
            del logits, guided  # before those of the next call are allocated
            done, first, call = done + size, first + size, call + 1
            if on_step is not None and on_step(progress()) is False:
                return progress(stopped=True)
        del state  # before the cache of the next group is allocated
    if confidence.isnan().any():  # asked once, at the end: every question makes the host wait for the device
        raise ValueError(
            "The model's logits are not finite (NaN). Its weights may be damaged, or too large for float16: load the "
            "model in bfloat16 (bf16) or float32 (fp32)."
        )
    return progress()


@torch.no_grad()
def score(
    model: TokenModel, canvas: Canvas, order: Tensor, conditions: Sequence[ConditionMap], options: DecodingOptions
) -> Tensor:
    """Confidence of every token of a whole picture, `[B, h, w]`, in one teacher-forced pass. All ids must be valid.

    It is the number that `decode` reports: the token's probability under the guided logits, each read with the cells
    before it in `order` `[B, N]` as context. Raises ValueError as `check_canvas` does.
    """
    check_canvas(model, Canvas(canvas.ids, torch.ones_like(canvas.known)), conditions)
    device, cells = canvas.ids.device, canvas.cells
    order = order.to(device)
    along = canvas.ids.flatten(1).gather(1, order)
    confidence = torch.zeros(order.shape, dtype=torch.float32, device=device)
    sizes = (1,) * cells
    for group in grouped([condition.kind for condition in conditions], options.batch_size):
        index = torch.tensor(group, dtype=torch.long, device=device)
        own_conditions = [conditions[i] for i in group]
        rule = rule_of(options, own_conditions)
        arguments = row_arguments(model, rule, own_conditions, order[index], None, index)
        logits = model(tokens=repeat(along[index], "b n -> (g b) n", g=len(rule.rows)), **arguments)
        weights = token_weights(model, rule, own_conditions, order[index].cpu(), sizes).to(device)
        guided = rule.combine(rearrange(logits, "(g b) n v -> g b n v", b=len(group)), weights)
        confidence[index] = confidence_of(guided, along[index])
    return torch.zeros_like(confidence).scatter(1, order, confidence).view(canvas.ids.shape)


def decode_groups(plan: Plan, conditions: Sequence[ConditionMap], batch_size: int | None) -> list[list[int]]:
    """Indices of the pictures that are decoded together: equal call sizes, and rows of the same kind."""
    keys = [(sizes, condition.kind) for sizes, condition in zip(plan.sizes, conditions, strict=True)]
    return [group for group in grouped(keys, batch_size) if plan.sizes[group[0]]]


def count_calls(plan: Plan, conditions: Sequence[ConditionMap], batch_size: int | None) -> int:
    """Calls that `decode` takes for `plan`."""
    return sum(len(plan.sizes[group[0]]) for group in decode_groups(plan, conditions, batch_size))


def grouped(keys: Sequence, batch_size: int | None) -> list[list[int]]:
    """Indices of equal `keys`, in groups of at most `batch_size`."""
    groups: dict = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    chunks = []
    for members in groups.values():
        size = batch_size or len(members)
        chunks += [members[start : start + size] for start in range(0, len(members), size)]
    return chunks


def rule_of(options: DecodingOptions, conditions: Sequence[ConditionMap]) -> Rule:
    """The guidance rule of pictures that are decoded together."""
    return options.guidance.rule(len(conditions[0].conditions), conditions[0].regions is not None)


def row_arguments(
    model: TokenModel,
    rule: Rule,
    conditions: Sequence[ConditionMap],
    order: Tensor,
    context_mask: Tensor | None,
    index: Tensor,
) -> dict[str, Tensor]:
    """The arguments of `start` and of the teacher-forced pass: every row of guidance for each picture, rows outermost.

    model: makes the embeddings.
    rule: says which rows there are.
    conditions: of each picture.
    order: `[B, N]`, of each picture.
    context_mask: `[all, N]` by cell, of all pictures of the batch; None where no row has a masked context.
    index: `[B]`, of the pictures in that batch.
    """
    rows = [
        picture.negative if row.condition is None else picture.conditions[row.condition]
        for row in rule.rows
        for picture in conditions
    ]
    distinct = {condition: number for number, condition in enumerate(dict.fromkeys(rows))}
    arguments = {
        "condition": row_embeddings(model, list(distinct), order.device),
        "order": order.repeat(len(rule.rows), 1),
        "row": torch.tensor([distinct[condition] for condition in rows], dtype=torch.long, device=order.device),
    }
    if any(row.masked_context for row in rule.rows):
        mask = context_mask.to(order.device)[index].gather(1, order)
        whole = torch.ones_like(mask)
        arguments["context_mask"] = torch.cat([mask if row.masked_context else whole for row in rule.rows])
    return arguments


def token_weights(
    model: TokenModel, rule: Rule, conditions: Sequence[ConditionMap], order: Tensor, sizes: Sequence[int]
) -> Tensor:
    """Guidance weights `[terms, B or 1, n]` of the n tokens that calls of `sizes` draw, the end of `order`."""
    cells, count = order.shape[1], sum(sizes)
    known = cells - count
    regions = None
    if conditions[0].regions is not None:
        regions = torch.stack([condition.regions.flatten(1) for condition in conditions])
        open_cells = order[:, known:].cpu()
        regions = regions.gather(2, open_cells.unsqueeze(1).expand(-1, regions.shape[1], -1))
    return rule.weights(token_progress(sizes, known, cells, model.traits.guidance_progress), regions)


def token_progress(sizes: Sequence[int], known: int, cells: int, where: str) -> list[float]:
    """The progress at which the guidance weight of each drawn token is taken, see `Traits.guidance_progress`."""
    before = list(accumulate(sizes[:-1], initial=known))
    if where == "token":
        return [(known + index) / cells for index in range(sum(sizes))]
    if where == "after call":
        return [(done + size) / cells for done, size in zip(before, sizes, strict=True) for _ in range(size)]
    return [done / cells for done, size in zip(before, sizes, strict=True) for _ in range(size)]


def check_canvas(model: TokenModel, canvas: Canvas, conditions: Sequence[ConditionMap]) -> None:
    """ValueError where canvas, conditions or ids can't belong to this model."""
    height, width = canvas.ids.shape[1:]
    grid = model.config.grid
    if (height, width) != (grid, grid):
        raise ValueError(
            f"The canvas has {width}×{height} cells (width×height); this model draws {grid}×{grid} at once."
        )
    if len(conditions) != canvas.batch:
        raise ValueError(
            f"A batch of {canvas.batch} pictures needs {canvas.batch} conditions; found {len(conditions)}."
        )
    ids = canvas.ids[canvas.known]
    if ids.numel():
        least, most = torch.stack(torch.aminmax(ids)).tolist()
        if not 0 <= least <= most < model.config.codebook_size:
            raise ValueError(
                f"The token ids lie in {least}…{most}; this model knows 0…{model.config.codebook_size - 1}."
            )
