"""Resolution extrapolation: a picture larger than the trained grid (RandAR, section 3.4)."""

from dataclasses import replace

import torch
from einops import rearrange
from torch import Tensor

from ..decoding.canvas import Canvas
from ..decoding.guidance import Guidance
from ..decoding.loop import Decoded, OnCall, Setting
from ..decoding.options import DecodingOptions, Watch, check_batch, derived_seed
from ..decoding.orders import Order, check_order
from ..decoding.plan import make_plan
from ..decoding.seeding import stream
from ..decoding.windows import Window, count_calls, decode_windows
from .generate import generate


@torch.no_grad()
def extrapolate(
    model,
    classes: Tensor,
    factor: int,
    options: DecodingOptions,
    spatial: Guidance | None = None,
    ids: Tensor | None = None,
    low_steps: int | None = None,
    boundary: int = 2,
    drop_ratio: float = 0.5,
    context_kept: Tensor | None = None,
    on_call: OnCall | None = None,
) -> Decoded:
    """Pictures of `classes` `[B]` on a grid `factor` times the trained side `g`: ids `[B, factor g, factor g]`.

    The low-resolution picture, `ids` `[B, g, g]` where given and else drawn in `low_steps` calls (by default as many as
    the rest), lies on the rows and columns that are multiples of `factor`; its cell (y, x) at (factor y, factor x). The
    rest is drawn with the table of places that `boundary` shapes, under `spatial` (see `spatial_guidance`) or, without
    it, under the guidance of `options`. Rows of guidance with a dropped context see those low-resolution tokens that
    `context_kept` `[B, g, g]` (bool) keeps; by default `int(drop_ratio g²)` are blanked, chosen by the seed.
    An order given as cell indices is one of the large grid; the low-resolution picture follows it too.
    `on_call` sees the large canvas from the start. Raises ValueError for a factor below 2, a model of fixed size, and
    tokens or a context of another shape.
    """
    if not hasattr(model, "extrapolated_table"):
        raise ValueError("This model can't extrapolate: its places are learned for one size. Use a RandAR model.")
    if factor != int(factor) or factor < 2:
        raise ValueError(
            f"The factor is {factor}; extrapolating takes a whole one of 2 or more (1 is the trained size)."
        )
    factor, grid, batch = int(factor), model.config.grid, len(classes)
    check_batch(classes, batch, options)
    if context_kept is None:
        context_kept = keep_context(options, batch, grid, drop_ratio)
    elif context_kept.shape != (batch, grid, grid):
        raise ValueError(
            f"The context that is kept has the shape {list(context_kept.shape)}; this model and batch need "
            f"{[batch, grid, grid]}, one value for each low-resolution token."
        )
    side = factor * grid
    large = Canvas.empty(batch, side, side, classes.device)
    large.known[:, ::factor, ::factor] = True
    large_options = replace(options, seed=derived_seed(options.seed, "extrapolation"))
    windows = [whole(large, place, large_options, model.parallel) for place in range(batch)]
    large_calls = count_calls([windows], options.batch)
    sure = torch.ones(batch, grid, grid, device=classes.device)
    low_calls, watch = 0, Watch(on_call)

    def on_large_grid(low: Decoded) -> Decoded:
        placed = [torch.zeros_like(t).repeat(1, factor, factor) for t in (low.ids, low.known, low.confidence)]
        for target, source in zip(placed, (low.ids, low.known, low.confidence), strict=True):
            target[:, ::factor, ::factor] = source
        return Decoded(*placed, low.call, low.calls + large_calls)

    if ids is None:
        low_options = replace(options, order=low_order(options.order, factor, grid, batch))
        low_options = replace(low_options, steps=options.steps if low_steps is None else low_steps)
        low = generate(model, classes, low_options, on_call=watch.through(on_large_grid))
        if watch.stopped:
            return on_large_grid(low)
        ids, sure, low_calls = low.ids, low.confidence, low.calls
    elif ids.shape != (batch, grid, grid):
        raise ValueError(
            f"The low-resolution tokens have the shape {list(ids.shape)}; this model and batch need "
            f"{[batch, grid, grid]}. Scale or crop the picture to the model's size first."
        )
    large.ids[:, ::factor, ::factor] = ids.to(classes.device)

    guidance = spatial or options.guidance
    everywhere = torch.ones(large.ids.shape)
    everywhere[:, ::factor, ::factor] = context_kept.float().cpu()
    setting = Setting(
        classes,
        guidance,
        options.sampling,
        table=model.extrapolated_table(factor, boundary),
        context_kept=everywhere.flatten(1) if any(row.dropped_context for row in guidance.rows) else None,
    )

    def complete(decoded: Decoded) -> Decoded:
        confidence = decoded.confidence.clone()
        confidence[:, ::factor, ::factor] = sure
        return replace(decoded, confidence=confidence, call=low_calls + decoded.call, calls=low_calls + decoded.calls)

    return complete(decode_windows(model, large, [windows], setting, options.batch, watch.through(complete)))


def whole(canvas: Canvas, place: int, options: DecodingOptions, parallel: bool) -> Window:
    """The whole canvas of one picture as a window."""
    order = options.order
    if not callable(order):
        order = check_order(order, canvas.batch, canvas.cells)[place]
    known = canvas.known[place : place + 1]
    plan = make_plan(
        Canvas(canvas.ids[place : place + 1], known),
        options.steps,
        options.seed,
        order,
        [options.picture(place)],
        parallel,
    )
    return Window(place, slice(None), slice(None), known[0], plan)


def low_order(order: Order | Tensor, factor: int, grid: int, batch: int) -> Order | Tensor:
    """The low-resolution cells along an `order` of the large grid, as cells of the trained grid."""
    if callable(order):
        return order
    side = factor * grid
    order = check_order(order, batch, side * side)
    y, x = order // side, order % side
    low = (y % factor == 0) & (x % factor == 0)
    return rearrange((y // factor * grid + x // factor)[low], "(b n) -> b n", b=batch)


def keep_context(options: DecodingOptions, batch: int, grid: int, drop_ratio: float) -> Tensor:
    """Which low-resolution tokens a dropped context keeps: `[B, g, g]` bool; the seed blanks `int(drop_ratio g²)`."""
    if not 0 <= drop_ratio <= 1:
        raise ValueError(f"The drop ratio is {drop_ratio}; it must lie between 0 and 1.")
    kept = torch.ones(batch, grid * grid, dtype=torch.bool)
    for place in range(batch):
        shuffled = torch.randperm(grid * grid, generator=stream(options.seed, "context", options.picture(place)))
        kept[place, shuffled[: int(drop_ratio * grid * grid)]] = False
    return rearrange(kept, "b (h w) -> b h w", h=grid)
