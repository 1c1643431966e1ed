"""Sections of the quality report on conditions: regions, blends, a negative class, and what several regions cost."""

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from quality import plots
from quality.bench import Bench, Row, Scope, classes_of
from quality.intervals import Interval, ratio_interval, wilson
from quality.masks import other_classes
from quality.report import Found, Records, Section, Sheet, Target, distance, interval, percent, seconds, share, table
from quality.seams import seam_ratios
from torch import Tensor

from randar_core.decoding.canvas import Canvas
from randar_core.decoding.conditions import Condition, Prompt, PromptBatch
from randar_core.procedural.landscape.pictures import CLASSES
from randar_core.tasks.fill import fill
from randar_core.tasks.generate import generate

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the second class of a blend."""

REGIONS = (1, 2, 3, 4)
COST_BATCHES = (1, 4)
TURNS = 5


def stripes(count: int, height: int, width: int) -> Tensor:
    """Masks `[count, height, width]` of 0 and 1 that part a canvas into upright stripes, from left to right."""
    column = torch.arange(width) * count // width
    return (column == torch.arange(count)[:, None]).float()[:, None].expand(-1, height, -1)


def in_stripes(classes: Sequence[Tensor], height: int, width: int) -> PromptBatch:
    """One stripe of the canvas for each of `classes`, ids `[B]` each."""
    masks = tuple(stripes(len(classes), height, width))
    ids = torch.stack(list(classes), 1).tolist()
    return PromptBatch(tuple(Prompt(tuple(map(Condition.of, picture)), masks) for picture in ids))


def blended(first: Tensor, second: Tensor, weight: float, negative: Tensor | None = None) -> PromptBatch:
    """Blends of class ids `[B]`, the second by `weight`, with `negative` ones `[B]` to steer away from."""
    away = [None] * len(first) if negative is None else list(map(Condition.of, negative.tolist()))
    pairs = zip(first.tolist(), second.tolist(), strict=True)
    blends = [Condition(pair, (1 - weight, weight)) for pair in pairs]
    return PromptBatch(tuple(Prompt((blend,), negative=n) for blend, n in zip(blends, away, strict=True)))


def of_nothing(count: int) -> PromptBatch:
    """Pictures without a class: one region, which covers nothing."""
    return PromptBatch((Prompt((Condition.of(0),), (torch.zeros(1, 1),)),)).repeated(count)


def blend_shares(bench: Bench, count: int, title: str, weight: float, negative: bool = False) -> dict:
    """The shares of pictures that are recognised as the first class of a blend, as the second, and as neither.

    The pictures of all weights share their random numbers. `negative` steers away from the second class.
    """
    found = []
    for pictures in bench.batches(count, title):
        first, second = classes_of(pictures), other_classes(pictures)
        prompts = blended(first, second, weight, second if negative else None)
        ids = generate(bench.model.transformer, prompts, bench.options(pictures)).ids
        seen = torch.from_numpy(bench.judge.look(bench.decode(ids)).classes)
        found.append(torch.stack([seen == first, seen == second, (seen != first) & (seen != second)]))
    counts = torch.cat(found, 1).sum(1).tolist()
    return {name: wilson(right, count) for name, right in zip(("first", "second", "neither"), counts, strict=True)}


def judged_canvases(bench: Bench, count: int, title: str, pixels: Callable[[range], tuple[Tensor, Tensor]]) -> dict:
    """The judge's figures on the halves of canvases of two pictures' width, and the steps across their middle.

    count: halves.
    pixels: canvases `[B, 3, H, 2 H]` and the class ids `[2 B]` of all left halves, then of all right ones.
    """
    canvases = []

    def made() -> Iterator[tuple[Tensor, Tensor]]:
        for pictures in bench.batches(count // 2, title, bench.batch // 2):
            canvas, labels = pixels(pictures)
            canvases.append(canvas)
            yield torch.cat(canvas.chunk(2, 3)), labels

    return bench.judged(made()) | seam_ratios(canvases, [bench.side], bench.model.tokenizer.factor)


def judged_halves(bench: Bench, count: int, title: str, two: bool) -> dict:
    """The judge's figures on halves of pictures of the model's own size, each completed by it without a class.

    count: halves.
    two: whether each half is a region of its own class; otherwise the picture is of one class.
    """
    grid, model = bench.grid, bench.model.transformer

    def made() -> Iterator[tuple[Tensor, Tensor]]:
        for pictures in bench.batches(count // 2, title):
            first = classes_of(pictures)
            second = other_classes(pictures) if two else first
            options = bench.options(pictures)
            ids = generate(model, in_stripes((first, second), grid, grid), options).ids
            completed = []
            for side in stripes(2, grid, grid).bool():
                canvas = Canvas(ids, side.expand(len(ids), -1, -1))
                completed.append(fill(model, canvas, of_nothing(len(ids)), options, pass_index=1).ids)
            yield bench.decode(torch.cat(completed)), torch.cat([first, second])

    return bench.judged(made())


def region_cost(bench: Bench, batch: int) -> dict:
    """Seconds of the process for `batch` pictures of 1, 2, … regions, and their ratio to those of one class.

    They take turns, and the time of the process counts, so that a machine that is slow for a while, or busy with
    something else, is slow for all of them.
    """
    grid, pictures = bench.grid, range(batch)
    options = bench.options(pictures)
    classes = [torch.full((batch,), label) for label in range(len(REGIONS))]
    prompts = {count: in_stripes(classes[:count], grid, grid) for count in REGIONS}

    def spent(count: int) -> float:
        began = time.process_time()
        generate(bench.model.transformer, prompts[count], options)
        return time.process_time() - began

    spent(REGIONS[0])
    turns = np.array([[spent(count) for count in REGIONS] for _ in range(TURNS)])
    return {
        "batch": batch,
        "turns": TURNS,
        "seconds": (np.median(turns, 0) / batch).tolist(),
        "ratios": [ratio_interval(turns[:, index], turns[:, 0]) for index in range(len(REGIONS))],
    }


def conditions_rows(bench: Bench, scope: Scope) -> Iterator[Row]:
    """Halves of canvases and of pictures, blends, and negative classes."""
    grid, count, model = bench.grid, scope.some, bench.model.transformer

    def apart(pictures: range) -> tuple[Tensor, Tensor]:
        """The right one has random numbers of its own."""
        classes = (classes_of(pictures), other_classes(pictures))
        indices = (pictures, range(count + pictures.start, count + pictures.stop))
        drawn = [
            bench.decode(generate(model, labels, bench.options(index)).ids)
            for labels, index in zip(classes, indices, strict=True)
        ]
        return torch.cat(drawn, 3), torch.cat(classes)

    def together(pictures: range, two: bool) -> tuple[Tensor, Tensor]:
        first = classes_of(pictures)
        second = other_classes(pictures) if two else first
        prompts = in_stripes((first, second), grid, 2 * grid)
        ids = generate(model, prompts, bench.options(pictures), grid, 2 * grid).ids
        return bench.decode(ids), torch.cat([first, second])

    def canvases(key: str, title: str, pixels: Callable[[range], tuple[Tensor, Tensor]]) -> Row:
        return Row(key, title, count, lambda: judged_canvases(bench, count, title, pixels))

    yield canvases("apart", "two pictures drawn apart, put next to each other", apart)
    yield canvases("regions", "one canvas, each half a region of its class", lambda p: together(p, True))
    yield canvases("one-class", "one canvas of one class", lambda p: together(p, False))
    for key, title, two in (
        ("half-of-two", "a picture, each half a region of its class", True),
        ("half-of-one", "a picture of one class", False),
    ):
        yield Row(key, title, count, lambda title=title, two=two: judged_halves(bench, count, title, two))
    for weight in WEIGHTS:
        title = f"{1 - weight:g} of the first, {weight:g} of the second"
        yield Row(f"blend-{weight:g}", title, count, lambda w=weight, t=title: blend_shares(bench, count, t, w))
    for weight in (0.0, 0.5):
        title = f"{1 - weight:g} of the first, {weight:g} of the second, the second negative"
        yield Row(
            f"negative-{weight:g}", title, count, lambda w=weight, t=title: blend_shares(bench, count, t, w, True)
        )


def region_cost_rows(bench: Bench, scope: Scope) -> Iterator[Row]:
    """The cost of regions."""
    for batch in COST_BATCHES:
        title = "one picture" if batch == 1 else f"{batch} pictures together"
        yield Row(f"{batch}", title, TURNS, lambda batch=batch: region_cost(bench, batch))


def conditions_text(records: Records) -> str:
    def of(*beginnings: str) -> list[dict]:
        return [record for key, record in records.items() if key.startswith(beginnings)]

    canvases = (
        (
            record["title"],
            record["count"],
            share(record),
            distance(record),
            f"{record['across']:.4f}",
            interval(record["ratio_inside"], 2),
        )
        for record in of("apart", "regions", "one-class")
    )
    steps = ("step across the border", "to all other steps")
    halves = ((record["title"], record["count"], share(record), distance(record)) for record in of("half"))
    blends = (
        (record["title"], record["count"], *(percent(record[name]) for name in ("first", "second", "neither")))
        for record in of("blend", "negative")
    )
    return f"""Default settings. First and second class differ, and all pairs take turns.

**Halves of a canvas.** A canvas of two pictures' width is drawn with two regions, its left half and its right half.
Each half is cut out and judged as a picture, as its region's class. What the border costs: the same for two pictures
that are drawn apart and put next to each other, and for a canvas of one class, which shows what the sliding window does
without regions. "Step" is the mean absolute step between the two pixel columns at the border. Its ratio to all other
steps is near 1 where no border is seen.

{table(("what", "halves", "recognised", "Fréchet distance", *steps), canvases)}

**Halves of a picture.** A picture of the model's own size is drawn with two regions. A half may hold half a
thing, so each is kept while the model draws the other half again without any class, and the result is judged as the
class of the kept half. The same is done with pictures of one class.

{table(("what", "halves", "recognised", "Fréchet distance"), halves)}

**Blends and negative classes.** The share that is recognised as the first class of a blend, as the second, and as
neither. A picture has the same random numbers in all rows. "Negative": guidance starts from the second class instead of
from none.

{table(("blend", "pictures", "first", "second", "neither"), blends)}"""


def region_cost_text(records: Records) -> str:
    cost = (
        (
            record["title"],
            *(
                f"{seconds(value)}, {interval(ratio, 2)}"
                for value, ratio in zip(record["seconds"], record["ratios"], strict=True)
            ),
        )
        for record in records.values()
    )
    return f"""Seconds of the process for a picture's tokens, and their ratio to those of one class, in {TURNS} turns.
By the number of rows that are computed, K regions cost (K + 1) / 2 of one class: 1.5, 2 and 2.5.

{table(("what", "one class", *(f"{count} regions" for count in REGIONS[1:])), cost)}"""


def within_rows(record: dict) -> Found:
    """Whether K regions cost no more than (K + 1) / 2 of one class and 10 %."""
    found: list[Interval] = record["ratios"][1:]
    most = [1.1 * (count + 1) / 2 for count in REGIONS[1:]]
    words = ", ".join(interval(ratio, 2) for ratio in found)
    return words, all(ratio[0] <= limit for ratio, limit in zip(found, most, strict=True))


def blend_sheet(bench: Bench, scope: Scope) -> Figure:
    """Blends of four pairs of classes, a pair a row. The pictures of a row share their random numbers."""
    pairs = (("tree", "hot-air balloon"), ("house", "castle"), ("sea", "desert"), ("mountains", "city"))
    rows = []
    for index, pair in enumerate(pairs):
        first, second = (torch.tensor([CLASSES.index(name)]) for name in pair)
        items = [blended(first, second, weight).items[0] for weight in WEIGHTS]
        options = bench.options([index] * len(items))
        rows.append(bench.decode(generate(bench.model.transformer, PromptBatch(tuple(items)), options).ids))
    titles = [f"{1 - weight:g} / {weight:g}" for weight in WEIGHTS]
    return plots.sheet(rows, titles, [f"{first} / {second}" for first, second in pairs])


CONDITIONS = Section(
    "conditions",
    "Conditions",
    conditions_rows,
    conditions_text,
    sheets=(Sheet("blends", "Blends of two classes, from the first to the second", blend_sheet),),
)

REGION_COST = Section(
    "region-cost",
    "Seconds of regions",
    region_cost_rows,
    region_cost_text,
    tuple(
        Target(
            f"2, 3 and 4 regions take at most (K + 1) / 2 of one class's time and 10 %, {words}",
            (f"{batch}",),
            within_rows,
        )
        for batch, words in zip(COST_BATCHES, ("one picture", "pictures together"), strict=True)
    ),
)
