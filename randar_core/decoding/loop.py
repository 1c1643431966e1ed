"""The one decode loop: it fills the unknown cells of a canvas, call by call, whatever the task or the model family."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

import torch
from einops import rearrange, repeat
from torch import Tensor

from .canvas import Canvas
from .choice import Choice
from .guidance import Guidance
from .plan import Plan
from .sampling import Sampling, confidence


@dataclass(frozen=True)
class Decoded:
    """Where a decode stands: `ids` `[B, h, w]`, `known` `[B, h, w]` (the cells that are set), `confidence` `[B, h, w]`.

    The confidence of a cell is the probability of its token under the guided logits at temperature 1, before top-k and
    top-p; 1 where the token was given, 0 where none is set. A callback gets the live tensors: copy what you keep.
    """

    ids: Tensor
    known: Tensor
    confidence: Tensor
    call: int
    calls: int

    @property
    def canvas(self) -> Canvas:
        return Canvas(self.ids, self.known)


@dataclass(frozen=True)
class Setting:
    """What a model is told beside the canvas: how a picture is conditioned, guided and sampled.

    `classes` `[B]`; `table` replaces the model's own table of places; `context_kept` `[B, N]` (by cell) is what rows
    with a dropped context keep.
    """

    classes: Tensor
    guidance: Guidance
    sampling: Sampling = Sampling()
    table: Tensor | None = None
    context_kept: Tensor | None = None


OnCall = Callable[[Decoded], bool | None]  # False stops the decode


@torch.no_grad()
def decode(model, canvas: Canvas, plan: Plan, setting: Setting, on_call: OnCall | None = None) -> Decoded:
    """Fill the unknown cells of `canvas` by `plan`; after each call `on_call` sees the whole batch and may stop it.

    `model` is a decoder of any family (`start`, `step`, `null_class`). Images that know equally many cells are decoded
    together, others after them, so that no image depends on its neighbours. Runs on the device of `canvas`. Raises
    ValueError as `check_setting` does, and where the logits are no numbers.
    """
    check_setting(model, canvas, setting)
    ids, known = canvas.ids.flatten(1).clone(), canvas.known.flatten(1).clone()
    sure = known.float()
    groups: dict[tuple[int, ...], list[int]] = {}
    for picture, sizes in enumerate(plan.sizes):
        groups.setdefault(sizes, []).append(picture)
    calls, call = sum(len(sizes) for sizes in groups), 0
    choose = Choice(setting.guidance.combination, setting.sampling)
    grid = {"h": canvas.ids.shape[1], "w": canvas.ids.shape[2]}

    def decoded() -> Decoded:
        return Decoded(*(rearrange(t, "b (h w) -> b h w", **grid) for t in (ids, known, sure)), call, calls)

    for sizes, members in groups.items():
        if not sizes:
            continue
        pictures = torch.tensor(members, device=ids.device)
        order = plan.order.to(ids.device)[pictures]
        noise = plan.noise.to(ids.device)[pictures].gather(1, order)
        state = model.start(**rows(model, setting, order, pictures))
        copies = len(setting.guidance.rows)
        done = canvas.cells - sum(sizes)
        progress = [(done + more) / canvas.cells for more in accumulate(sizes[:-1], initial=0)]
        weights = setting.guidance.weights(progress).to(ids.device)  # of all calls: each transfer waits for the device
        fresh = ids[pictures].gather(1, order[:, :done])
        drawn = torch.ones(len(members), max(sizes), dtype=torch.bool, device=ids.device)
        for size, weight in zip(sizes, weights.unbind(1), strict=True):
            given = weight[:, None].expand(-1, size), noise[:, done : done + size]
            fresh, certain = model.step(state, repeat(fresh, "b m -> (g b) m", g=copies), size, choose, given)
            cells = order[:, done : done + size]
            ids[pictures[:, None], cells] = fresh
            known[pictures[:, None], cells] = drawn[:, :size]  # not True: a number of the host waits for the device
            sure[pictures[:, None], cells] = certain
            done += size
            call += 1
            if on_call is not None and on_call(decoded()) is False:
                return decoded()
        del state  # else the next group's cache would be made while this one is held
    if sure.isnan().any():  # asked once, in the end: every question waits for the device
        raise ValueError(
            "The model's logits are no numbers (NaN). Its weights may be damaged, or too large for float16: load the "
            "model in bfloat16 (bf16) or float32 (fp32)."
        )
    return decoded()


@torch.no_grad()
def score(model, canvas: Canvas, order: Tensor, setting: Setting) -> Tensor:
    """How sure the model is of every token of a given picture: `[B, h, w]`, in one teacher-forced pass.

    The number that `decode` reports: the token's probability under the guided logits, each read with the cells before
    it in `order` `[B, N]` as context. Raises ValueError as `check_setting` does.
    """
    check_setting(model, Canvas(canvas.ids, torch.ones_like(canvas.known)), setting)  # every token is read
    order = order.to(canvas.ids.device)
    along = canvas.ids.flatten(1).gather(1, order)
    copies = len(setting.guidance.rows)
    conditions = rows(model, setting, order, torch.arange(canvas.batch, device=order.device))
    logits = model(tokens=repeat(along, "b n -> (g b) n", g=copies), **conditions)
    weights = setting.guidance.weights([done / canvas.cells for done in range(canvas.cells)]).to(order.device)
    logits = setting.guidance.combination(rearrange(logits, "(g b) n v -> g b n v", g=copies), weights)
    sure = confidence(logits, along)
    return torch.zeros_like(sure).scatter(1, order, sure).view(canvas.ids.shape)


def rows(model, setting: Setting, order: Tensor, pictures: Tensor) -> dict:
    """What a model's `start` and `forward` are told of `pictures` `[B]`: every row of guidance, rows outermost."""
    classes = setting.classes.to(order.device)[pictures]
    null = torch.full_like(classes, model.null_class)
    guidance_rows = setting.guidance.rows
    arguments = {
        "classes": torch.cat([null if row.null_class else classes for row in guidance_rows]),
        "order": order.repeat(len(guidance_rows), 1),
    }
    if setting.table is not None:
        arguments["table"] = setting.table
    if any(row.dropped_context for row in guidance_rows):
        kept = setting.context_kept.to(order.device)[pictures].gather(1, order)
        everything = torch.ones_like(kept)
        arguments["context_kept"] = torch.cat([kept if row.dropped_context else everything for row in guidance_rows])
    return arguments


def check_setting(model, canvas: Canvas, setting: Setting) -> None:
    """ValueError where canvas, classes, ids, places or context can't belong to this model."""
    height, width = canvas.ids.shape[1:]
    grid = model.config.grid
    if setting.table is None and (height, width) != (grid, grid):
        raise ValueError(
            f"The canvas has {width}×{height} cells (width×height); this model draws {grid}×{grid} at once, the grid "
            "it was trained on. `tasks.windows.fill` draws a canvas of any size."
        )
    if setting.table is not None and len(setting.table) != 1 + canvas.cells:
        raise ValueError(
            f"The table of places has {len(setting.table)} rows; a canvas of {canvas.cells} cells needs "
            f"{1 + canvas.cells}, one for the class and one a cell."
        )
    if setting.classes.shape != (canvas.batch,):
        raise ValueError(
            f"A batch of {canvas.batch} needs {canvas.batch} class ids; found the shape {list(setting.classes.shape)}."
        )
    for name, values, size in (
        ("class", setting.classes, model.config.classes),
        ("token", canvas.ids[canvas.known], model.config.codebook_size),
    ):
        if values.numel() and not (0 <= int(values.min()) and int(values.max()) < size):
            found = f"{int(values.min())}…{int(values.max())}"
            raise ValueError(f"The {name} ids lie in {found}; this model knows 0…{size - 1}.")
    if any(row.dropped_context for row in setting.guidance.rows) and setting.context_kept is None:
        raise ValueError("This guidance has a row with a dropped context, but `context_kept` was not given.")
