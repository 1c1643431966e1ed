"""What a long run will take, said before it begins: cells, windows, calls of the model."""

import argparse

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checkpoints.model import Model
from ..decoding.conditions import Conditions
from ..decoding.options import DecodingOptions
from ..decoding.plan import sizes_for
from ..decoding.windows import default_overlap, windows_of
from ..tasks.confidence import tiles
from ..tasks.outpaint import Axis

LONG = 300  # calls; shorter runs are over before anyone asks


def calls_for(model: Model, options: DecodingOptions, cells: int, known: int = 0) -> int:
    """Calls for a canvas of `cells` that the model draws at once."""
    return len(sizes_for(model.transformer, options, cells, known))


def windows_and_calls(
    model: Model, options: DecodingOptions, known: Tensor, overlap: int | None = None
) -> tuple[int, int]:
    """Windows and calls that `fill` takes for one canvas, `known` `[h, w]` bool on the CPU, drawn one by one."""
    grid = model.transformer.config.grid
    overlap = default_overlap(grid) if overlap is None else overlap
    shown = torch.ones_like(known)
    padding = (0, max(0, grid - known.shape[1]), 0, max(0, grid - known.shape[0]))
    windows = windows_of(F.pad(known, padding)[None], grid, overlap, F.pad(shown, padding))
    return len(windows), sum(calls_for(model, options, grid**2, int(window.known.sum())) for window in windows)


def say_generation(
    arguments: argparse.Namespace, model: Model, options: DecodingOptions, pictures: int, conditions: Conditions
) -> None:
    """The cost of `pictures` of a `generate`, where it is long."""
    grid, factor = model.transformer.config.grid, model.tokenizer.factor
    if arguments.overlap is not None and not 0 <= arguments.overlap < grid:
        return  # the task refuses it
    if arguments.factor is not None:
        height = width = arguments.factor * grid
        windows, calls = 1, calls_for(model, options, grid**2) + calls_for(model, options, height * width, grid**2)
    else:
        sides = (arguments.height, arguments.width)
        height, width = (grid if side is None else -(-side // factor) for side in sides)
        known = torch.zeros(height, width, dtype=torch.bool, device="cpu")
        windows, calls = windows_and_calls(model, options, known, arguments.overlap)
    batches = -(-pictures // arguments.batch)
    rows = conditions.rows(options.guidance)
    say(
        f"Each of {pictures:,} pictures: " if pictures > 1 else "",
        width,
        height,
        windows,
        calls,
        calls * batches,
        f", {batches:,} batches" if batches > 1 else "",
        rows,
    )


def say_outpainting(arguments: argparse.Namespace, model: Model, options: DecodingOptions, pixels: Tensor) -> None:
    """The cost of an `outpaint`, where it is long."""
    factor, (height, width) = model.tokenizer.factor, pixels.shape[2:]
    grid, overlap = model.transformer.config.grid, arguments.overlap
    if min(arguments.left, arguments.top, arguments.right, arguments.bottom) < 0 or not 0 <= (overlap or 0) < grid:
        return  # the task refuses it
    y, x = Axis(height, arguments.top, arguments.bottom, factor), Axis(width, arguments.left, arguments.right, factor)
    known = torch.zeros(y.cells, x.cells, dtype=torch.bool, device="cpu")
    known[y.known, x.known] = True
    windows, calls = windows_and_calls(model, options, known, arguments.overlap)
    say("", x.cells, y.cells, windows, calls, calls, "", 0)


def say_refining(arguments: argparse.Namespace, model: Model, options: DecodingOptions, pixels: Tensor) -> None:
    """The cost of a `refine`, where it is long: each round scores the picture, then draws in windows."""
    factor, grid = model.tokenizer.factor, model.transformer.config.grid
    height, width = (-(-side // factor) for side in pixels.shape[2:])
    scored = len(tiles(max(height, grid), grid)) * len(tiles(max(width, grid), grid))
    known = torch.zeros(height, width, dtype=torch.bool, device="cpu")
    windows, calls = windows_and_calls(model, options, known)
    words = f", at most, in each of {arguments.rounds} rounds, after scoring {scored} windows"
    say("", width, height, windows, calls, calls * arguments.rounds, words, 0)


def say(
    beginning: str, width: int, height: int, windows: int, calls: int, all_calls: int, ending: str, rows: int
) -> None:
    """Print the cost where it is more than `LONG` calls or one window.

    beginning, ending: of the sentence.
    width, height: of a picture, in cells.
    windows, calls: of a picture.
    all_calls: of the whole run.
    rows: of guidance in a picture.
    """
    if windows <= 1 and all_calls < LONG:
        return
    parts = f"{width}×{height} cells in {windows:,} window{'s' if windows > 1 else ''}, {calls:,} calls of the model"
    conditions = f", {rows} rows a picture" if rows > 2 else ""
    print(f"{beginning}{parts}{conditions}{ending}.", flush=True)
