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
from ..tasks.confidence import tiles
from ..tasks.outpaint import axes_of, known_cells

LONG = 300  # calls; shorter runs are over before anyone asks


@dataclass(frozen=True)
class Cost:
    """What it takes to draw a picture of `height` × `width` cells once."""

    height: int
    width: int
    windows: int
    calls: int

    @classmethod
    def of_windows(cls, model: Model, options: DecodingOptions, known: Tensor, overlap: int | None = None) -> "Cost":
        """Of `fill` for one canvas, `known` `[h, w]` bool, whose windows are drawn one by one."""
        grid = model.transformer.config.grid
        windows = windows_of(known[None], grid, overlap)
        calls = sum(calls_for(model, options, grid**2, int(window.known.sum())) for window in windows)
        return cls(*known.shape, len(windows), calls)

    def say(self, times: int = 1, beginning: str = "", ending: str = "") -> None:
        """Print the cost of a run that draws `times` times, where it is more than `LONG` calls or one window.

        beginning, ending: of the sentence.
        """
        if self.windows <= 1 and self.calls * times < LONG:
            return
        windows = f"{self.windows:,} window{'s' if self.windows > 1 else ''}"
        cells = f"{self.width}×{self.height} cells in {windows}, {self.calls:,} calls of the model"
        print(f"{beginning}{cells}{ending}.", flush=True)


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
        side = arguments.factor * grid
        calls = calls_for(model, options, grid**2) + calls_for(model, options, side**2, grid**2)
        cost = Cost(side, side, windows=1, calls=calls)
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


def say_refining(arguments: argparse.Namespace, model: Model, options: DecodingOptions, pixels: Tensor) -> None:
    """The cost of a `refine`, where it is long: each round scores the picture, then draws in windows."""
    factor, grid = model.tokenizer.factor, model.transformer.config.grid
    height, width = (-(-side // factor) for side in pixels.shape[2:])
    scored = len(tiles(max(height, grid), grid)) * len(tiles(max(width, grid), grid))
    rounds = f", at most, in each of {arguments.rounds} rounds, after scoring {scored} windows"
    Cost.of_windows(model, options, nothing_known(height, width)).say(times=arguments.rounds, ending=rounds)
