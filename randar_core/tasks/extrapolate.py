"""Resolution extrapolation: a picture larger than the trained grid (RandAR, section 3.4)."""

from dataclasses import replace

import torch
from einops import rearrange
from torch import Tensor

from ..decoding.canvas import Canvas
from ..decoding.conditions import PromptBatch
from ..decoding.loop import DecodeProgress, OnStep, count_calls, decode
from ..decoding.options import DecodingOptions
from ..decoding.orders import Order, check_order
from ..decoding.plan import make_plan
from ..decoding.seeding import derived_seed, generator_for
from ..decoding.windows import mapped
from .generate import generate


@torch.no_grad()
def extrapolate(
    model,
    prompts: Tensor | PromptBatch,
    options: DecodingOptions,
    factor: int,
    ids: Tensor | None = None,
    boundary: int = 2,
    drop_ratio: float = 0.5,
    context_mask: Tensor | None = None,
    on_step: OnStep | None = None,
) -> DecodeProgress:
    """Pictures on a grid `factor` times the trained side g: ids `[B, factor g, factor g]`.

    model: a transformer of a family that can be enlarged.
    prompts: class ids `[B]` or `PromptBatch`.
    options: how to decode. `options.guidance.spatial` holds for the large grid alone. An order given as cell indices is
        one of the large grid; the low-resolution picture follows it too.
    factor: a whole number of 2 or more.
    ids: `[B, g, g]`, the low-resolution picture. By default it is drawn first, in as many steps as the rest.
    boundary: frequencies that turn with the true positions, see `rope.extrapolated_table`.
    drop_ratio: the share of low-resolution tokens that rows with a masked context don't see, chosen by the seed.
    context_mask: `[B, g, g]` bool in place of `drop_ratio`: the tokens that those rows see.
    on_step: sees the large canvas from the start.

    The cell (y, x) of the low-resolution picture lies at (factor y, factor x). Runs on the device of `prompts`.
    Raises ValueError as `check_settings`, for a family of fixed size, and for tokens or a context of another shape.
    """
    check_settings(factor, drop_ratio)
    prompts = PromptBatch.of(prompts)
    factor, grid, batch, device = int(factor), model.config.grid, len(prompts), prompts.device
    large = model.enlarged(factor, boundary)
    side = large.config.grid
    if context_mask is None:
        context_mask = draw_context_mask(options, batch, grid, drop_ratio)
    elif context_mask.shape != (batch, grid, grid):
        raise ValueError(
            f"The context mask has the shape {list(context_mask.shape)}; this model and batch need "
            f"{[batch, grid, grid]}, one value for each low-resolution token."
        )
    canvas = Canvas.empty(batch, side, side, device)
    canvas.known[:, ::factor, ::factor] = True
    plan = make_plan(large, canvas.known, replace(options, seed=derived_seed(options.seed, "extrapolation")))
    cell_conditions = prompts.on_cells(side, side)
    large_calls = count_calls(plan, cell_conditions, options.batch_size)

    def on_large_grid(low: DecodeProgress) -> DecodeProgress:
        tensors = [torch.zeros_like(t).repeat(1, factor, factor) for t in (low.ids, low.known, low.confidence)]
        for target, source in zip(tensors, (low.ids, low.known, low.confidence), strict=True):
            target[:, ::factor, ::factor] = source
        return DecodeProgress(*tensors, low.call, low.calls + large_calls, low.stopped)

    low_confidence, low_calls = torch.ones(batch, grid, grid, dtype=torch.float32, device=device), 0
    if ids is None:
        low_options = replace(
            options,
            order=low_order(options.order, factor, grid, batch),
            guidance=replace(options.guidance, spatial=None),
        )
        low = generate(model, prompts, low_options, on_step=mapped(on_step, on_large_grid))
        if low.stopped:
            return on_large_grid(low)
        ids, low_confidence, low_calls = low.ids, low.confidence, low.calls
    elif ids.shape != (batch, grid, grid):
        raise ValueError(
            f"The low-resolution tokens have the shape {list(ids.shape)}; this model and batch need "
            f"{[batch, grid, grid]}. Scale or crop the picture to the model's size first."
        )
    canvas.ids[:, ::factor, ::factor] = ids.to(device)
    large_mask = torch.ones(canvas.ids.shape, dtype=torch.float32, device="cpu")
    large_mask[:, ::factor, ::factor] = context_mask.to(large_mask)

    def complete(progress: DecodeProgress) -> DecodeProgress:
        confidence = progress.confidence.clone()
        confidence[:, ::factor, ::factor] = low_confidence
        return replace(
            progress, confidence=confidence, call=low_calls + progress.call, calls=low_calls + progress.calls
        )

    return complete(
        decode(large, canvas, plan, cell_conditions, options, large_mask.flatten(1), on_step=mapped(on_step, complete))
    )


def check_settings(factor: float, drop_ratio: float) -> None:
    """ValueError for a setting of `extrapolate` that is out of range."""
    if factor != int(factor) or factor < 2:
        raise ValueError(
            f"The factor is {factor}; extrapolating takes a whole number of 2 or more (1 is the trained size)."
        )
    if not 0 <= drop_ratio <= 1:
        raise ValueError(f"The drop ratio is {drop_ratio}; it must lie between 0 and 1.")


def low_order(order: Order | Tensor | None, factor: int, grid: int, batch: int) -> Order | Tensor | None:
    """The low-resolution cells along an `order` of the large grid, as cells of the trained grid."""
    if order is None or callable(order):
        return order
    side = factor * grid
    order = check_order(order, batch, side * side)
    y, x = order // side, order % side
    low = (y % factor == 0) & (x % factor == 0)
    return rearrange((y // factor * grid + x // factor)[low], "(b n) -> b n", b=batch)


def draw_context_mask(options: DecodingOptions, batch: int, grid: int, drop_ratio: float) -> Tensor:
    """`[B, g, g]` bool on the CPU, False for `int(drop_ratio g²)` low-resolution tokens chosen by the seed."""
    mask = torch.ones(batch, grid * grid, dtype=torch.bool, device="cpu")
    for row, i in zip(mask, options.indices(batch), strict=True):
        generator = generator_for(options.seed, "context", i)
        shuffled = torch.randperm(grid * grid, generator=generator, dtype=torch.long, device="cpu")
        row[shuffled[: int(drop_ratio * grid * grid)]] = False
    return rearrange(mask, "b (h w) -> b h w", h=grid)
