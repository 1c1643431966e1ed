"""Sheets of the model's own pictures, which show what figures don't: objects that are broken, and seams.

Each is drawn at the model's default settings from the first seeds on; none is chosen.
"""

from dataclasses import replace

import torch
from matplotlib.figure import Figure
from quality import plots
from quality.bench import EXTRAPOLATION_GUIDANCE, Bench, Scope, classes_of
from quality.masks import boxes_of, new_things
from quality.parts import THINGS
from quality.report import Sheet
from torch import Tensor

from randar_core.procedural.landscape.pictures import CLASSES
from randar_core.tasks.extrapolate import extrapolate
from randar_core.tasks.inpaint import inpaint
from randar_core.tasks.outpaint import outpaint

ROUNDS = 8  # pictures of each class on the sheet of samples: 96 in all


def samples(bench: Bench, scope: Scope) -> Figure:
    """A column for each class."""
    count = len(CLASSES)
    rounds = 1 if scope.smoke else ROUNDS
    rows = [generated(bench, range(number * count, (number + 1) * count)) for number in range(rounds)]
    return plots.sheet(rows, CLASSES)


def panoramas(bench: Bench, scope: Scope) -> Figure:
    """One of each class, of five times the model's width."""
    ids = bench.generate(range(len(CLASSES)), canvas=(bench.grid, 5 * bench.grid)).ids
    return in_rows(bench.decode(ids), columns=2, width=5)


def outpainted(bench: Bench, scope: Scope) -> Figure:
    """A generated picture of each class, extended by half of its side on every side."""
    pictures, model, half = range(len(CLASSES)), bench.model, bench.side // 2
    result = outpaint(
        model.transformer,
        model.tokenizer,
        generated(bench, pictures),
        classes_of(pictures),
        bench.options(pictures),
        *(half, half, half, half),
    )
    return in_rows(result.pixels, columns=6, width=1.8)


def class_edits(bench: Bench, scope: Scope) -> Figure:
    """Drawn landscapes, and below each the same with another thing in the place of its own, twelve in all."""
    rows = []
    for start in (0, len(THINGS)):
        pictures, model = range(start, start + len(THINGS)), bench.model
        scenes = bench.scenes(pictures, THINGS)
        classes, masks = new_things(scenes, pictures), boxes_of(scenes, pictures).float()
        options = bench.options(pictures)
        edited = inpaint(model.transformer, model.tokenizer, scenes.pixels, masks, classes, options)
        rows += [scenes.pixels, edited.pixels]
    return plots.sheet(rows, names=("before", "after") * 2)


def enlarged(bench: Bench, scope: Scope) -> Figure:
    """A picture of each class at twice the trained size, without spatial guidance, which leaves specks."""
    pictures, model = range(len(CLASSES)), bench.model
    options = bench.options(pictures, guidance=replace(EXTRAPOLATION_GUIDANCE, spatial=None))
    large = extrapolate(model.transformer, classes_of(pictures), options, 2, boundary=model.defaults.boundary)
    return in_rows(bench.decode(large.ids), columns=6, width=1.8)


def generated(bench: Bench, pictures: range) -> Tensor:
    """Pixels `[B, 3, H, W]` in 0…1 at the default settings."""
    return bench.decode(bench.generate(pictures).ids)


def in_rows(pixels: Tensor, columns: int, width: float) -> Figure:
    """Pictures `[B, 3, H, W]` of classes in turn, `width` inches wide."""
    rows = list(torch.split(pixels, columns))
    return plots.sheet(rows, width=width)


SAMPLES = Sheet("samples", "Samples of every class, a column each, from the first seeds on", samples)
PANORAMAS = Sheet("panoramas", "Panoramas of five windows' width, one of each class", panoramas)
OUTPAINTED = Sheet("outpainted", "Pictures outpainted by half their side on all sides, one of each class", outpainted)
CLASS_EDITS = Sheet("class-edits", "Things before and after a class edit", class_edits)
ENLARGED = Sheet("enlarged", "Pictures of twice the trained size, one of each class; no spatial guidance", enlarged)
