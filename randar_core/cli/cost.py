"""What a long run will take, said before it begins: cells, windows, calls of the model."""

import argparse
from dataclasses import dataclass

import torch
from torch import Tensor

from ..checkpoints.model import Model
from ..decoding.conditions import PromptBatch
from ..decoding.options import DecodingOptions
from ..decoding.plan import sizes_for
from ..decoding.windows import windows_of
from ..tasks import extrapolate, inpaint
from ..tasks.checks import check_mask
from ..tasks.confidence import tiles
from ..tasks.outpaint import axes_of, known_cells
from .from_arguments import extrapolation_of

LONG = 300  # calls; shorter runs are over before anyone asks


@dataclass(frozen=True)
class Cost:
    """What it takes to draw once: a picture of `height` × `width` cells in windows, or so many `crops` of that size."""

    height: int
    width: int
    windows: int
    calls: int
    crops: bool = False

    @classmethod
    def of_windows(cls, model: Model, options: DecodingOptions, known: Tensor, overlap: int | None = None) -> "Cost":
        """Of `fill` for one canvas, `known` `[h, w]` bool, whose windows are drawn one by one."""
        grid = model.transformer.config.grid
        windows = windows_of(known[None], grid, overlap)
        calls = sum(calls_for(model, options, grid**2, int(window.known.sum())) for window in windows)
        return cls(*known.shape, len(windows), calls)

    @classmethod
    def of_enlarging(
        cls, model: Model, options: DecodingOptions, factor: int, boundary: int, drop_ratio: float, low_calls: int = 0
    ) -> "Cost":
        """Of `extrapolate`, of which the small version takes `low_calls`. Raises as it does for what can't be."""
        extrapolate.check_settings(factor, drop_ratio)
        side = model.transformer.enlarged(factor, boundary).config.grid
        known = model.transformer.config.grid**2
        return cls(side, side, windows=1, calls=low_calls + calls_for(model, options, side**2, known))

    def say(self, times: int = 1, beginning: str = "", ending: str = "") -> None:
        """Print the cost of a run that draws `times` times, where it is more than `LONG` calls or one window.

        beginning, ending: of the sentence.
        """
        if self.windows <= 1 and self.calls * times < LONG:
            return
        kind = ("crop" if self.crops else "window") + ("s" if self.windows > 1 else "")
        windows, cells = f"{self.windows:,} {kind}", f"{self.width}×{self.height} cells"
        drawn = f"{windows} of {cells}" if self.crops else f"{cells} in {windows}"
        print(f"{beginning}{drawn}, {self.calls:,} calls of the model{ending}.", flush=True)


def calls_for(model: Model, options: DecodingOptions, cells: int, known: int = 0) -> int:
    """Calls for a canvas of `cells` that the model draws at once."""
    return len(sizes_for(model.transformer, options, cells, known))


def nothing_known(height: int, width: int) -> Tensor:
    return torch.zeros(height, width, dtype=torch.bool, device="cpu")


def say_generation(
    arguments: argparse.Namespace, model: Model, options: DecodingOptions, pictures: int, prompts: PromptBatch
) -> None:
    """The cost of `pictures` of a `generate`, where it is long."""
    grid, factor = model.transformer.config.grid, model.tokenizer.factor
    if arguments.overlap is not None and not 0 <= arguments.overlap < grid:
        return  # the task refuses it
    if arguments.factor is not None:
        settings = extrapolation_of(arguments, model)
        cost = Cost.of_enlarging(model, options, **settings, low_calls=calls_for(model, options, grid**2))
    else:
        sides = (arguments.height, arguments.width)
        height, width = (grid if side is None else -(-side // factor) for side in sides)
        cost = Cost.of_windows(model, options, nothing_known(height, width), arguments.overlap)
    batches, rows = -(-pictures // arguments.batch), prompts.rows(options.guidance)
    cost.say(
        times=batches,
        beginning=f"Each of {pictures:,} pictures: " if pictures > 1 else "",
        ending=(f", {rows} rows a picture" if rows > 2 else "") + (f", {batches:,} batches" if batches > 1 else ""),
    )


def say_outpainting(arguments: argparse.Namespace, model: Model, options: DecodingOptions, pixels: Tensor) -> None:
    """The cost of an `outpaint`, where it is long."""
    factor, (height, width) = model.tokenizer.factor, pixels.shape[2:]
    grid, overlap = model.transformer.config.grid, arguments.overlap
    if min(arguments.left, arguments.top, arguments.right, arguments.bottom) < 0 or not 0 <= (overlap or 0) < grid:
        return  # the task refuses it
    axes = axes_of(height, width, factor, arguments.left, arguments.top, arguments.right, arguments.bottom)
    Cost.of_windows(model, options, known_cells(*axes), overlap).say()


def say_inpainting(
    arguments: argparse.Namespace, model: Model, options: DecodingOptions, pixels: Tensor, mask: Tensor
) -> None:
    """The cost of an `inpaint` of `pixels` `[1, C, H, W]` where `mask` `[1, H, W]` is, where it is long."""
    check_mask(mask, pixels)
    inpaint.check_settings(arguments.denoise, arguments.grow, arguments.seam, arguments.context, arguments.threshold)
    if arguments.denoise == 0:
        return  # nothing is drawn
    grid = model.transformer.config.grid
    size = grid * model.tokenizer.factor
    crops, known = inpaint.crops_and_known(mask > arguments.threshold, arguments.grow, arguments.context, size, grid)
    calls = sum(calls_for(model, options, grid**2, count) for count in known)
    # Crops with as many masked cells share calls, and a denoise below 1 leaves fewer of them.
    Cost(grid, grid, len(crops), calls, crops=True).say(ending=" at most")


def say_extrapolating(model: Model, options: DecodingOptions, factor: int, boundary: int, drop_ratio: float) -> None:
    """The cost of an `extrapolate`, where it is long. Raises as the task does for what can't be."""
    Cost.of_enlarging(model, options, factor, boundary, drop_ratio).say()


def say_refining(arguments: argparse.Namespace, model: Model, options: DecodingOptions, pixels: Tensor) -> None:
    """The cost of a `refine`, where it is long: each round scores the picture, then draws in windows."""
    factor, grid = model.tokenizer.factor, model.transformer.config.grid
    height, width = (-(-side // factor) for side in pixels.shape[2:])
    scored = len(tiles(max(height, grid), grid)) * len(tiles(max(width, grid), grid))
    rounds = f", at most, in each of {arguments.rounds} rounds, after scoring {scored} windows"
    Cost.of_windows(model, options, nothing_known(height, width)).say(times=arguments.rounds, ending=rounds)
