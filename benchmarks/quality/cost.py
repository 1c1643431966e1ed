"""Sections of the quality report on the tokenizer, the precision of weights, and the seconds of a picture."""

import time
from collections.abc import Callable, Iterator
from statistics import median

import numpy as np
import torch
from quality.bench import Bench, Row, Scope
from quality.intervals import mean_interval, ratio_interval
from quality.report import Found, Records, Section, Target, distance, interval, percent, seconds, share, table
from random_models import random_model
from torch import Tensor

from randar_core.checkpoints.model import Model, open_model
from randar_core.decoding.canvas import Canvas
from randar_core.decoding.options import DecodingOptions
from randar_core.models.family import TokenModel
from randar_core.runtime.capabilities import can_pack_in
from randar_core.runtime.packed_linear import pack
from randar_core.runtime.precision import precision_of
from randar_core.tasks.fill import fill
from randar_core.tasks.generate import generate
from randar_core.tasks.inpaint import inpaint

# --- tokenizer -------------------------------------------------------------------------------------------------------


def tokenizer_rows(bench: Bench, scope: Scope) -> Iterator[Row]:
    """How much of a picture survives the tokenizer, and how much of the codebook is in use."""

    def measure() -> dict:
        ratios, uses = [], torch.zeros(bench.model.tokenizer.codebook_size, dtype=torch.long)
        for pictures in bench.batches(scope.compared, "tokenizer"):
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

    yield Row("fresh", "fresh pictures", scope.compared, measure)


def tokenizer_text(records: Records) -> str:
    record = records["fresh"]
    return f"""Over {record["count"]} fresh pictures: PSNR {interval(record["psnr"], 2)} dB; {record["codes_used"]} of
{record["codes"]} codes in use, perplexity {record["perplexity"]:.0f}."""


TOKENIZER = Section("tokenizer", "Tokenizer", tokenizer_rows, tokenizer_text)


# --- precisions ------------------------------------------------------------------------------------------------------


def precisions_rows(bench: Bench, scope: Scope) -> Iterator[Row]:
    """What weights of fewer bits do to the logits of true tokens, and to pictures."""
    cells = bench.grid**2

    def logits(model: Model, pictures: range) -> Tensor:
        scenes = bench.scenes(pictures)
        ids = bench.model.tokenizer.encode(scenes.pixels).flatten(1)
        generator = torch.Generator().manual_seed(bench.seed + pictures.start)
        order = torch.stack([torch.randperm(cells, generator=generator) for _ in pictures])
        transformer = model.transformer
        return transformer(transformer.class_embedding(scenes.labels), ids.gather(1, order), order).double()

    def measure(name: str) -> dict:
        precisions = [precision_of(dtype, torch.device("cpu")) for dtype in (name, "float32")]
        tested, exact = (Bench.open(bench.path, bench.judge, bench.batch, precision) for precision in precisions)
        errors, spreads, same = [], [], []
        for pictures in bench.batches(scope.few, f"logits in {name}", bench.batch // 4):
            expected, found = logits(exact.model, pictures), logits(tested.model, pictures)
            errors.append((found - expected).square().mean((1, 2)))
            spreads.append(expected.var(-1).mean(1))
            same.append((found.argmax(-1) == expected.argmax(-1)).double().mean(1))
        off = ratio_interval(*(torch.cat(each).numpy() for each in (errors, spreads)))
        return tested.judged_samples(scope.some, f"samples in {name}") | {
            "off": tuple(value**0.5 for value in off),
            "same": mean_interval(torch.cat(same).numpy()),
        }

    for name in ("float32", "float16", "int8"):
        if name == "float32" or can_pack_in(name):
            yield Row(name, name, scope.some, lambda name=name: measure(name))


def precisions_text(records: Records) -> str:
    rows = (
        (
            record["title"],
            record["count"],
            percent(record["off"]),
            percent(record["same"]),
            share(record),
            distance(record),
        )
        for record in records.values()
    )
    header = ("weights", "pictures", "logits off by", "same likeliest token", "recognised", "Fréchet distance")
    return f"""What weights of fewer bits do, with arithmetic in 32 bits. "Off by" is the root mean square difference
from the logits in float32, relative to their standard deviation, under the true tokens of fresh pictures.

{table(header, rows)}"""


PRECISIONS = Section("precisions", "Precisions", precisions_rows, precisions_text)


# --- seconds ---------------------------------------------------------------------------------------------------------


def timed(task: Callable[[], object], repeats: int = 5, warm_up: bool = True) -> float:
    """Median seconds of `task()`, after one run to warm up."""
    if warm_up:
        task()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        task()
        times.append(time.perf_counter() - began)
    return median(times)


def seconds_alone(bench: Bench, **changes) -> float:
    """Seconds for one picture at batch 1, from class to pixels."""
    return timed(lambda: bench.decode(bench.generate(range(1), **changes).ids), 3)


def ratio_of(full: Callable[[], object], quarter: Callable[[], object], repeats: int) -> dict:
    """Median seconds of two tasks, and the second's as a share of the first's.

    They take turns, so that a machine that is slow for a while is slow for both.
    """
    turns = [(timed(full, 1, first), timed(quarter, 1, first)) for first in [True] + [False] * (repeats - 1)]
    full_seconds, quarter_seconds = map(median, zip(*turns, strict=True))
    return {"full": full_seconds, "quarter": quarter_seconds, "ratio": quarter_seconds / full_seconds}


def quarter_ratio(model: TokenModel, options: DecodingOptions, repeats: int) -> dict:
    """Seconds of a full picture and of a quarter of its cells with the others known, at batch 1."""
    grid = model.config.grid
    ids = torch.randint(
        model.config.codebook_size, (1, grid, grid), generator=torch.Generator().manual_seed(options.seed)
    )
    known = torch.ones(1, grid, grid, dtype=torch.bool)
    known[:, grid // 4 : -(grid // 4), grid // 4 : -(grid // 4)] = False
    canvas, label = Canvas(ids, known), torch.zeros(1, dtype=torch.long)
    return ratio_of(lambda: generate(model, label, options), lambda: fill(model, canvas, label, options), repeats)


def inpainting_ratio(bench: Bench, options: DecodingOptions, repeats: int) -> dict:
    """The same as a user waits for it, from pixels to pixels: the tokenizer encodes the picture first."""
    scene, edge = bench.scenes(range(1)), bench.side // 4
    mask = torch.zeros(1, bench.side, bench.side)
    mask[:, edge:-edge, edge:-edge] = 1
    model, tokenizer = bench.model.transformer, bench.model.tokenizer
    return ratio_of(
        lambda: bench.decode(bench.generate(range(1)).ids),
        lambda: inpaint(model, tokenizer, scene.pixels, mask, scene.labels, options),
        repeats,
    )


def cost_rows(bench: Bench, scope: Scope) -> Iterator[Row]:
    """Loading, one picture, and a quarter of one."""
    options = bench.options(range(1))

    def load() -> None:
        model = open_model(bench.path).build(torch.device("cpu"), bench.precision.dtype)
        pack(model.transformer, bench.precision.bits)

    def large() -> dict:
        model = random_model("randar-l-llamagen", dtype=bench.precision.dtype)
        return quarter_ratio(pack(model, bench.precision.bits), options, 3)

    yield Row("load", "load", 1, lambda: {"seconds": timed(load, 3)})
    yield Row("picture", "one picture", 1, lambda: {"seconds": seconds_alone(bench)})
    yield Row("quarter", "a quarter of the cells", 1, lambda: quarter_ratio(bench.model.transformer, options, 15))
    yield Row(
        "quarter-inpainted", "a quarter of the picture inpainted", 1, lambda: inpainting_ratio(bench, options, 15)
    )
    if not scope.smoke:
        yield Row("quarter-randar-l", "a quarter of the cells, RandAR-L", 1, large)


def cost_text(records: Records) -> str:
    rows = []
    for record in records.values():
        if "ratio" in record:
            words = f"{seconds(record['quarter'])} against {seconds(record['full'])}: {record['ratio']:.2f}"
        else:
            words = seconds(record["seconds"])
        rows.append((record["title"], words))
    return f"""At batch 1 and default settings. "A quarter of the cells" is generated in the middle with the others
known, without the tokenizer; "inpainted" includes the tokenizer, which encodes the picture first. RandAR-L has random
weights.

{table(("what", "seconds"), rows)}"""


def quick(limit: float) -> Callable[[dict], Found]:
    return lambda record: (seconds(record["seconds"]), record["seconds"] < limit)


def quick_enough(record: dict) -> Found:
    return f"{record['ratio']:.2f}", record["ratio"] <= 0.4


COST = Section(
    "cost",
    "Seconds",
    cost_rows,
    cost_text,
    (
        Target("the model loads in under 1 s", ("load",), quick(1)),
        Target("one picture in under 2 s", ("picture",), quick(2)),
        Target("drawing a quarter of the cells takes at most 0.4 of a full picture's time", ("quarter",), quick_enough),
        Target(
            "inpainting a quarter of a picture, from pixels to pixels, likewise", ("quarter-inpainted",), quick_enough
        ),
    ),
)
