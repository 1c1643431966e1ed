"""Sections of the quality report on drawing from nothing: each gives its rows, which are measured one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median

import numpy as np
import torch
from quality_bench import Bench, Counts, Row, every_order
from quality_statistics import mean_interval, ratio_interval
from torch import Tensor

from randar_core.checkpoints.model import Model, load_model
from randar_core.decoding.canvas import Canvas
from randar_core.decoding.options import DecodingOptions
from randar_core.decoding.windows import fill
from randar_core.models.randar import RandAR, RandARConfig
from randar_core.runtime.capabilities import can_pack_in
from randar_core.runtime.packed_linear import pack
from randar_core.runtime.precision import Precision, precision_of
from randar_core.tasks.generate import generate
from randar_core.tasks.inpaint import inpaint

WEIGHTS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
CALLS = (256, 128, 88, 64, 32, 16)
BEGINNINGS = (0, 8, 16, 32, 64, 128)
CALLS_OF_ORDERS = (256, 88, 32, 16)


def floors(bench: Bench, counts: Counts) -> Iterator[Row]:
    """What a perfect model could reach: fresh real pictures, and those that went through the tokenizer.

    A Fréchet distance falls with the number of pictures; hence the floor for each number that other sections use.
    """
    for count in sorted({counts.headline, counts.compared, counts.some, counts.few, counts.large}, reverse=True):

        def real(count=count):
            scenes = (bench.scenes(pictures) for pictures in bench.pieces(count, f"{count} real pictures"))
            return bench.judged((scene.pixels, scene.labels) for scene in scenes)

        def rebuilt(count=count):
            scenes = (bench.scenes(pictures) for pictures in bench.pieces(count, f"{count} reconstructions"))
            return bench.judged((reconstructed(bench, scene.pixels), scene.labels) for scene in scenes)

        yield Row(f"real pictures, {count}", count, real)
        yield Row(f"reconstructions, {count}", count, rebuilt)


def guidance(bench: Bench, counts: Counts) -> Iterator[Row]:
    """Class accuracy and Fréchet distance by the weight that guidance rises to; the headline is the default weight."""
    default = bench.model.defaults.guidance
    yield Row(f"default ({default:g})", counts.headline, lambda: bench.drawn(counts.headline, "default settings"))
    for weight in WEIGHTS:
        yield Row(
            f"{weight:g}",
            counts.some,
            lambda weight=weight: bench.drawn(
                counts.some, f"guidance {weight:g}", guidance=bench.model.guidance(end=weight)
            ),
        )


def parallel(bench: Bench, counts: Counts) -> Iterator[Row]:
    """Quality and seconds by the number of calls. One picture alone is timed too, as a user draws it."""

    def measure(calls: int) -> dict:
        record = bench.drawn(counts.compared, f"{calls} calls", steps=calls)
        return record | {"seconds_alone": seconds_alone(bench, steps=calls)}

    for calls in CALLS:
        yield Row(f"{calls}", counts.compared, lambda calls=calls: measure(calls))


def orders(bench: Bench, counts: Counts) -> Iterator[Row]:
    """Every order at 256, 88, 32 and 16 calls."""
    for order in every_order():
        for calls in CALLS_OF_ORDERS:
            yield Row(
                f"{order}, {calls}",
                counts.few,
                lambda order=order, calls=calls: bench.drawn(
                    counts.few, f"{order}, {calls} calls", order=order, steps=calls
                ),
            )


# --- precisions ------------------------------------------------------------------------------------------------------


def precisions(bench: Bench, counts: Counts) -> Iterator[Row]:
    """What weights of fewer bits do to the logits of true tokens, and to pictures."""
    device, grid = torch.device("cpu"), bench.model.transformer.config.grid

    def in_precision(name: str) -> Bench:
        precision = precision_of(name, device)
        return Bench(bench.path, load_model(bench.path, dtype=precision.dtype), bench.judge, bench.batch, precision)

    def logits(model: Model, pictures: range) -> Tensor:
        scenes = bench.scenes(pictures)
        ids = bench.model.tokenizer.encode(scenes.pixels).flatten(1)
        generator = torch.Generator().manual_seed(bench.seed + pictures.start)
        order = torch.stack([torch.randperm(grid * grid, generator=generator) for _ in pictures])
        return model.transformer(classes=scenes.labels, tokens=ids.gather(1, order), order=order).double()

    def measure(name: str) -> dict:
        own, exact = in_precision(name), in_precision("float32")
        errors, spreads, same = [], [], []
        for pictures in bench.pieces(counts.few, f"logits in {name}", max(1, bench.batch // 4)):
            expected, found = logits(exact.model, pictures), logits(own.model, pictures)
            errors.append((found - expected).square().mean((1, 2)))
            spreads.append(expected.var(-1).mean(1))
            same.append((found.argmax(-1) == expected.argmax(-1)).double().mean(1))
        off = ratio_interval(*(torch.cat(each).numpy() for each in (errors, spreads)))
        return own.drawn(counts.some, f"drawn in {name}") | {
            "off": tuple(value**0.5 for value in off),
            "same": mean_interval(torch.cat(same).numpy()),
        }

    for name in ("float32", "float16", "int8"):
        if name == "float32" or can_pack_in(name):
            yield Row(name, counts.some, lambda name=name: measure(name))


# --- tokenizer -------------------------------------------------------------------------------------------------------


def reconstructed(bench: Bench, pixels: Tensor) -> Tensor:
    return bench.decode(bench.model.tokenizer.encode(pixels))


def tokenizer(bench: Bench, counts: Counts) -> Iterator[Row]:
    """How much of a picture survives the tokenizer, and how much of the codebook is in use."""

    def measure() -> dict:
        ratios, uses = [], torch.zeros(bench.model.tokenizer.codebook_size, dtype=torch.long)
        for pictures in bench.pieces(counts.compared, "tokenizer"):
            pixels = bench.scenes(pictures).pixels
            ids = bench.model.tokenizer.encode(pixels)
            error = (bench.decode(ids) - pixels).square().mean((1, 2, 3))
            ratios.append(-10 * error.double().log10().numpy())
            uses += torch.bincount(ids.flatten(), minlength=len(uses))
        shares = uses[uses > 0].double() / uses.sum()
        return {
            "psnr": mean_interval(np.concatenate(ratios)),
            "codes": len(uses),
            "codes_used": int((uses > 0).sum()),
            "perplexity": float((-(shares * shares.log()).sum()).exp()),
        }

    yield Row("fresh pictures", counts.compared, measure)


# --- context ---------------------------------------------------------------------------------------------------------


def context_cells(grid: int) -> tuple[Tensor, dict[str, list[Tensor]]]:
    """A centred block of half the grid's side and what may be known around it, as masks `[g, g]`.

    "Four sides" is a strip of cells along each side of the block, "one side" the whole margin left of it, right of it,
    above or below. On a grid whose side is a multiple of 8 both hold as many cells: (g/2)·(g/8)·4 = g·(g/4).
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
    """Mean log-likelihood `[B]` of the true tokens in `block` `[g, g]` given those in `known` `[g, g]`.

    Teacher-forced along `order` `[B, N]` (cells) with the known cells first, then the block, then the rest, which
    nothing is read from.
    """
    stage = torch.where(known, 0, torch.where(block, 1, 2)).flatten()
    order = order.gather(1, stage[order].argsort(dim=1, stable=True))
    tokens = ids.flatten(1).gather(1, order)
    logits = bench.model.transformer(classes=labels, tokens=tokens, order=order)
    likelihood = logits.log_softmax(-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    start = int(known.sum())
    return likelihood[:, start : start + int(block.sum())].mean(1)


def context(bench: Bench, counts: Counts) -> Iterator[Row]:
    """How likely the true tokens of the centre are, by what is known around it: all rows of the same pictures."""
    grid, count = bench.model.transformer.config.grid, counts.some
    block, contexts = context_cells(grid)

    def measure(places: list[Tensor], name: str) -> np.ndarray:
        generator = torch.Generator().manual_seed(bench.seed)
        values = []
        for pictures in bench.pieces(count, f"context: {name}", max(1, bench.batch // 2)):
            scenes = bench.scenes(pictures)
            ids = bench.model.tokenizer.encode(scenes.pixels)
            order = torch.stack([torch.randperm(grid * grid, generator=generator) for _ in pictures])
            each = [block_likelihood(bench, ids, scenes.labels, known, block, order) for known in places]
            values.append(torch.stack(each).mean(0).double().numpy())
        return np.concatenate(values)

    def figures(name: str) -> dict:
        values = measure(contexts[name], name)
        return {
            "cells": int(contexts[name][0].sum()),
            "likelihood": mean_interval(values),
            "each": [round(float(value), 5) for value in values],
        }

    for name in contexts:
        yield Row(name, count, lambda name=name: figures(name))


def beginnings(bench: Bench, counts: Counts) -> Iterator[Row]:
    """Where a picture goes wrong: its first cells, along a random order, are those of a real picture of the class."""
    grid = bench.model.transformer.config.grid

    def measure(given: int) -> dict:
        def made() -> Iterator[tuple[Tensor, Tensor]]:
            for pictures in bench.pieces(counts.some, f"{given} true cells"):
                scenes = bench.scenes(pictures)
                ids = bench.model.tokenizer.encode(scenes.pixels)
                generator = torch.Generator().manual_seed(bench.seed + pictures.start)
                rank = torch.rand(ids.shape, generator=generator).flatten(1).argsort(1).argsort(1)
                canvas = Canvas(ids, (rank < given).view(ids.shape))
                drawn = fill(bench.model.transformer, canvas, scenes.labels, bench.options(pictures))
                yield bench.decode(drawn.ids), scenes.labels

        return bench.judged(made())

    for given in BEGINNINGS:
        if given < grid**2:
            yield Row(f"{given}", counts.some, lambda given=given: measure(given))


# --- seconds ---------------------------------------------------------------------------------------------------------


def timed(task: Callable[[], object], repeats: int = 5, warm_up: bool = True) -> float:
    """Median seconds of `task()`, after one run to warm up."""
    if warm_up:
        task()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        task()
        seconds.append(time.perf_counter() - began)
    return median(seconds)


def seconds_alone(bench: Bench, **setting) -> float:
    """Seconds for one picture at batch 1, from nothing to pixels."""
    return timed(lambda: bench.decode(bench.generate(range(1), **setting).ids), 3)


def ratio_of(full: Callable[[], object], quarter: Callable[[], object], repeats: int) -> dict:
    """Median seconds of two tasks, and the second's as a share of the first's.

    They take turns, so that a machine that is slower for a while is so for both.
    """
    turns = [(timed(full, 1, first), timed(quarter, 1, first)) for first in [True] + [False] * (repeats - 1)]
    seconds = dict(zip(("full", "quarter"), map(median, zip(*turns, strict=True)), strict=True))
    return seconds | {"ratio": seconds["quarter"] / seconds["full"]}


def quarter_ratio(decoder, options: DecodingOptions, repeats: int) -> dict:
    """Seconds of a full picture and of a quarter of the cells, the rest known, at batch 1."""
    grid = decoder.config.grid
    ids = torch.randint(
        decoder.config.codebook_size, (1, grid, grid), generator=torch.Generator().manual_seed(options.seed)
    )
    known = torch.ones(1, grid, grid, dtype=torch.bool)
    known[:, grid // 4 : -(grid // 4), grid // 4 : -(grid // 4)] = False
    canvas, label = Canvas(ids, known), torch.zeros(1, dtype=torch.long)
    return ratio_of(lambda: generate(decoder, label, options), lambda: fill(decoder, canvas, label, options), repeats)


def inpainting_ratio(bench: Bench, options: DecodingOptions, repeats: int) -> dict:
    """The same as a user waits for it, from pixels to pixels: the picture goes through the tokenizer first."""
    scene, edge = bench.scenes(range(1)), bench.side // 4
    mask = torch.zeros(1, bench.side, bench.side)
    mask[:, edge:-edge, edge:-edge] = 1
    decoder, tokenizer = bench.model.transformer, bench.model.tokenizer
    return ratio_of(
        lambda: bench.decode(bench.generate(range(1)).ids),
        lambda: inpaint(decoder, tokenizer, scene.pixels, mask, scene.labels, options),
        repeats,
    )


def randar_l(precision: Precision) -> RandAR:
    """RandAR-L with random weights: what a call costs doesn't depend on them."""
    decoder = RandAR(RandARConfig(1024, 24, 16, 16384), dtype=precision.dtype)
    for parameter in decoder.parameters():
        torch.nn.init.constant_(parameter, 0.01)
    return pack(decoder.eval().requires_grad_(False), precision.bits)


def cost(bench: Bench, counts: Counts) -> Iterator[Row]:
    """Loading, one picture, and a quarter of one."""
    options = bench.options(range(1))

    def load_whole() -> None:
        pack(load_model(bench.path, dtype=bench.precision.dtype).transformer, bench.precision.bits)

    yield Row("load", 1, lambda: {"seconds": timed(load_whole, 3)})
    yield Row("one picture", 1, lambda: {"seconds": seconds_alone(bench)})
    yield Row("a quarter of the cells", 1, lambda: quarter_ratio(bench.model.transformer, options, 15))
    yield Row("a quarter of the picture inpainted", 1, lambda: inpainting_ratio(bench, options, 15))
    if not counts.smoke:
        yield Row("a quarter of the cells, RandAR-L", 1, lambda: quarter_ratio(randar_l(bench.precision), options, 3))
