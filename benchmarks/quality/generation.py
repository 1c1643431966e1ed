"""Sections of the quality report on generating pictures."""

from collections.abc import Iterator

import numpy as np
import torch
from quality import plots
from quality.bench import Bench, Row, Scope, every_order
from quality.cost import seconds_alone
from quality.intervals import mean_interval
from quality.report import (
    Found,
    Plot,
    Records,
    Section,
    Target,
    better,
    by_calls,
    distance,
    interval,
    judged_table,
    recognised,
    seconds,
    share,
    table,
)
from quality.sheets import SAMPLES
from torch import Tensor

from randar_core.decoding.canvas import Canvas
from randar_core.tasks.fill import fill

WEIGHTS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
CALLS = (256, 128, 88, 64, 32, 16)
TRUE_CELLS = (0, 8, 16, 32, 64, 128)
CALLS_OF_ORDERS = (256, 88, 32, 16)


# --- guidance --------------------------------------------------------------------------------------------------------


def guidance_rows(bench: Bench, scope: Scope) -> Iterator[Row]:
    """Class accuracy and Fréchet distance by the weight that guidance rises to; the headline is the default weight."""
    default = bench.model.defaults.guidance
    yield Row(
        "default",
        f"default ({default:g})",
        scope.headline,
        lambda: bench.judged_samples(scope.headline, "default settings"),
    )
    for weight in WEIGHTS:

        def measure(weight=weight) -> dict:
            guidance = bench.model.guidance(end=weight)
            return bench.judged_samples(scope.some, f"guidance {weight:g}", guidance=guidance)

        yield Row(f"{weight:g}", f"{weight:g}", scope.some, measure)


def guidance_text(records: Records) -> str:
    headline = records["default"]
    each = headline["count"] // len(headline["classes"])
    classes = ", ".join(f"{name} {right}" for name, right in headline["classes"].items())
    return f"""Class guidance goes to the weight from where the defaults begin; a weight below that is constant. All
other settings are the model's defaults.

{judged_table(records, "guidance weight")}

Recognised at the default weight, of {each} each: {classes}."""


GUIDANCE = Section(
    "guidance",
    "Guidance",
    guidance_rows,
    guidance_text,
    (Target("at least 95 % of the samples are recognised at the default settings", ("default",), recognised(0.95)),),
    Plot("guidance", "Class accuracy and Fréchet distance by guidance weight", plots.guidance, ("guidance", "floors")),
    (SAMPLES,),
)


# --- floors ----------------------------------------------------------------------------------------------------------


def floors_rows(bench: Bench, scope: Scope) -> Iterator[Row]:
    """What a perfect model could reach: fresh real pictures, and their reconstructions by the tokenizer.

    A Fréchet distance falls with the number of pictures, so there is a floor for each number that a section uses.
    """
    for count in sorted({scope.headline, scope.compared, scope.some, scope.few, scope.large}, reverse=True):

        def real(count=count) -> dict:
            scenes = (bench.scenes(pictures) for pictures in bench.batches(count, f"{count} real pictures"))
            return bench.judged((scene.pixels, scene.labels) for scene in scenes)

        def reconstructed(count=count) -> dict:
            scenes = (bench.scenes(pictures) for pictures in bench.batches(count, f"{count} reconstructions"))
            tokenizer = bench.model.tokenizer
            return bench.judged((bench.decode(tokenizer.encode(scene.pixels)), scene.labels) for scene in scenes)

        yield Row(f"real-{count}", f"real pictures, {count}", count, real)
        yield Row(f"reconstructed-{count}", f"reconstructions, {count}", count, reconstructed)


def floors_text(records: Records) -> str:
    return f"""What a perfect model could reach. A Fréchet distance falls with the number of pictures that it is
measured from, so compare a row of another section with the floor of the same number of pictures.

{judged_table(records, "pictures of")}"""


FLOORS = Section("floors", "Floors", floors_rows, floors_text)


# --- parallel decoding -----------------------------------------------------------------------------------------------


def parallel_rows(bench: Bench, scope: Scope) -> Iterator[Row]:
    """Quality and seconds by the number of calls. One picture alone is timed too, as a user waits for it."""

    def measure(calls: int) -> dict:
        record = bench.judged_samples(scope.compared, f"{calls} calls", steps=calls)
        return record | {"seconds_alone": seconds_alone(bench, steps=calls)}

    for calls in CALLS:
        yield Row(f"{calls}", f"{calls}", scope.compared, lambda calls=calls: measure(calls))


def parallel_text(records: Records) -> str:
    rows = (
        (
            record["title"],
            record["count"],
            share(record),
            distance(record),
            seconds(record["seconds"]),
            seconds(record["seconds_alone"]),
            f"{records['256']['seconds_alone'] / record['seconds_alone']:.1f} ×",
        )
        for record in records.values()
    )
    header = ("calls", "pictures", "recognised", "Fréchet distance", "a picture, batched", "one alone", "faster")
    return f"""Random order, default guidance, by the number of calls of the model for the 256 cells. Seconds from class
to pixels.

{table(header, rows)}"""


def close_enough(few: dict, many: dict) -> Found:
    """Whether `few` calls are as good as `many`: at most 5 % worse, or within the confidence interval of `many`."""
    worse = few["frechet"][0] / many["frechet"][0] - 1
    reached = worse <= 0.05 or few["frechet"][0] <= many["frechet"][2]
    return f"{distance(few)} against {distance(many)}: {100 * worse:+.1f} %".replace("-", "−"), reached


PARALLEL = Section(
    "parallel",
    "Parallel decoding",
    parallel_rows,
    parallel_text,
    (
        Target(
            "88 calls within 5 % of 256 calls in Fréchet distance, or within its interval",
            ("88", "256"),
            close_enough,
        ),
    ),
    Plot("parallel", "Fréchet distance and seconds by the number of calls", plots.parallel, ("parallel", "floors")),
)


# --- orders ----------------------------------------------------------------------------------------------------------


def orders_rows(bench: Bench, scope: Scope) -> Iterator[Row]:
    """Every order at several numbers of calls."""
    for order in every_order():
        for calls in CALLS_OF_ORDERS:

            def measure(order=order, calls=calls) -> dict:
                figures = bench.judged_samples(scope.few, f"{order}, {calls} calls", order=order, steps=calls)
                return {"order": order, "calls": calls, **figures}

            yield Row(f"{order}, {calls}", f"{order}, {calls} calls", scope.few, measure)


def orders_text(records: Records) -> str:
    counts = sorted({record["count"] for record in records.values()})
    return f"""{" or ".join(map(str, counts))} pictures a cell. Recognised:

{by_calls(records, ("order",), share)}

Fréchet distance:

{by_calls(records, ("order",), distance)}"""


ORDERS = Section(
    "orders",
    "Orders",
    orders_rows,
    orders_text,
    tuple(
        Target(
            f"locality-aware order against random at {calls} calls",
            (f"locality-aware, {calls}", f"random, {calls}"),
            better,
        )
        for calls in (32, 16)
    ),
    Plot(
        "orders",
        "Share recognised and Fréchet distance of every order by the number of calls",
        plots.orders,
        ("orders",),
    ),
)


# --- context ---------------------------------------------------------------------------------------------------------


CONTEXTS = {
    "nothing": "the class alone",
    "one side": "one side (mean of the four)",
    "four sides": "all four sides",
    "everything around": "everything around",
}


def context_cells(grid: int) -> tuple[Tensor, dict[str, list[Tensor]]]:
    """A centred block of half the grid's side, and what may be known around it, as masks `[g, g]`.

    "Four sides" is a strip of cells along each side of the block; "one side" is the whole margin to its left, to its
    right, above or below. On a grid whose side is a multiple of 8 both hold the same number of cells:
    (g/2)·(g/8)·4 = g·(g/4).
    """
    margin, strip = grid // 4, grid // 8
    block = torch.zeros(grid, grid, dtype=torch.bool)
    block[margin:-margin, margin:-margin] = True
    near = torch.zeros_like(block)
    near[margin - strip : grid - margin + strip, margin:-margin] = True
    near = near | near.T
    left = torch.zeros_like(block)
    left[:, :margin] = True
    return block, {
        "nothing": [torch.zeros_like(block)],
        "one side": [left, left.flip(1), left.T.contiguous(), left.flip(1).T.contiguous()],
        "four sides": [near & ~block],
        "everything around": [~block],
    }


def block_likelihood(bench: Bench, ids: Tensor, labels: Tensor, known: Tensor, block: Tensor, order: Tensor) -> Tensor:
    """Mean log-likelihood `[B]` of the true tokens in a block under the known tokens.

    Teacher-forced along `order` with the known cells first, then the block, then the rest, whose logits are unused.

    ids: `[B, g, g]`, the true tokens.
    labels: class ids `[B]`.
    known: `[g, g]` bool.
    block: `[g, g]` bool, the cells whose likelihood is asked.
    order: cell indices `[B, N]`.
    """
    model = bench.model.transformer
    stage = torch.where(known, 0, torch.where(block, 1, 2)).flatten()
    order = order.gather(1, stage[order].argsort(dim=1, stable=True))
    tokens = ids.flatten(1).gather(1, order)
    logits = model(model.class_embedding(labels), tokens, order)
    likelihood = logits.log_softmax(-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    start = int(known.sum())
    return likelihood[:, start : start + int(block.sum())].mean(1)


def context_rows(bench: Bench, scope: Scope) -> Iterator[Row]:
    """How likely the true tokens of the centre are, by what is known around it. All rows use the same pictures."""
    grid, count = bench.grid, scope.some
    block, contexts = context_cells(grid)

    def likelihoods(masks: list[Tensor], title: str) -> np.ndarray:
        generator = torch.Generator().manual_seed(bench.seed)
        values = []
        for pictures in bench.batches(count, f"context: {title}", bench.batch // 2):
            scenes = bench.scenes(pictures)
            ids = bench.model.tokenizer.encode(scenes.pixels)
            order = torch.stack([torch.randperm(grid * grid, generator=generator) for _ in pictures])
            each = [block_likelihood(bench, ids, scenes.labels, known, block, order) for known in masks]
            values.append(torch.stack(each).mean(0).double().numpy())
        return np.concatenate(values)

    def figures(key: str) -> dict:
        values = likelihoods(contexts[key], CONTEXTS[key])
        return {
            "cells": int(contexts[key][0].sum()),
            "likelihood": mean_interval(values),
            "each": [round(float(value), 5) for value in values],
        }

    for key, title in CONTEXTS.items():
        yield Row(key, title, count, lambda key=key: figures(key))


def context_text(records: Records) -> str:
    rows = (
        (record["title"], record["cells"], record["count"], interval(record["likelihood"], 3))
        for record in records.values()
    )
    # The same pictures row by row; a record may hold more of them than the other.
    pairs = zip(records["four sides"]["each"], records["one side"]["each"], strict=False)
    gain = mean_interval(np.array([more - less for more, less in pairs]))
    return f"""Mean log-likelihood (nats a token, higher is better) of the true tokens of the centred block of a fresh
picture, by what is known around it: teacher-forced, in random order within the block, without guidance.

{table(("known", "cells", "pictures", "log-likelihood"), rows)}

The same number of cells on all four sides rather than on one adds {interval(gain, 3)} nats a token (same
pictures, paired)."""


CONTEXT = Section(
    "context",
    "Context",
    context_rows,
    context_text,
    plot=Plot("context", "Log-likelihood of the true tokens by what is known", plots.context, ("context",)),
)


# --- beginnings ------------------------------------------------------------------------------------------------------


def beginnings_rows(bench: Bench, scope: Scope) -> Iterator[Row]:
    """Where a picture goes wrong: its first cells, along a random order, are those of a real picture of the class."""

    def measure(known: int) -> dict:
        def made() -> Iterator[tuple[Tensor, Tensor]]:
            for pictures in bench.batches(scope.some, f"{known} true cells"):
                scenes = bench.scenes(pictures)
                ids = bench.model.tokenizer.encode(scenes.pixels)
                generator = torch.Generator().manual_seed(bench.seed + pictures.start)
                rank = torch.rand(ids.shape, generator=generator).flatten(1).argsort(1).argsort(1)
                canvas = Canvas(ids, (rank < known).view(ids.shape))
                filled = fill(bench.model.transformer, canvas, scenes.labels, bench.options(pictures))
                yield bench.decode(filled.ids), scenes.labels

        return bench.judged(made())

    for known in TRUE_CELLS:
        if known < bench.grid**2:
            yield Row(f"{known}", f"{known}", scope.some, lambda known=known: measure(known))


def beginnings_text(records: Records) -> str:
    return f"""Fresh pictures of which the first cells along a random order are known; the others are generated. Where
the share recognised reaches the floor, nothing can go wrong any more: what the picture shows is decided before.

{judged_table(records, "true cells")}"""


BEGINNINGS = Section("beginnings", "Beginnings", beginnings_rows, beginnings_text)
