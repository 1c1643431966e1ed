"""The quality report as Markdown, from its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from quality_bench import every_order
from quality_sections import CALLS_OF_ORDERS
from quality_statistics import difference, mean_interval, wilson

from randar_core.procedural.scene import FREE, PORTRAIT, Bounds
from randar_core.procedural.shapes import CLASSES

Section = dict[str, dict]
"""Records by the name of their row."""


# --- words for numbers -----------------------------------------------------------------------------------------------


def share(record: dict) -> str:
    return percent(record["share"])


def percent(values: Sequence[float]) -> str:
    value, low, high = (100 * x for x in values)
    return f"{value:.1f} % ({low:.1f}–{high:.1f})"


def span(bounds: Bounds) -> str:
    return " to ".join(f"{200 * half:.0f}" for half in bounds.half) + " %"


def distance(record: dict) -> str:
    """Of fewer than five pictures a class it says nothing."""
    return interval(record["frechet"], 2) if record["count"] >= 5 * len(CLASSES) else "–"


def interval(values: Sequence[float], digits: int) -> str:
    value, low, high = values
    return f"{value:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})".replace("-", "−")


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 0.1 else f"{1000 * value:.0f} ms"


def millions(count: int) -> str:
    return f"{count / 1e6:.2f} M"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def picture(name: str, words: str) -> str:
    return f"![{words}](plots/{name}.png)"


# --- what must be reached --------------------------------------------------------------------------------------------


def seamless(record: dict, ratio: str) -> tuple[str, bool | str]:
    """Whether the steps across borders are within 10 % of others; where they aren't, whether they are smaller."""
    return interval(record[ratio], 2), "**no**, smaller" if record[ratio][0] < 0.9 else record[ratio][0] <= 1.1


def quick_enough(record: dict) -> tuple[str, bool]:
    return f"{record['ratio']:.2f}", record["ratio"] <= 0.4


def closeness(few: dict, many: dict) -> tuple[str, bool]:
    """Whether `few` calls are as good as `many`: at most 5 % worse, or within the confidence interval of `many`."""
    worse = few["frechet"][0] / many["frechet"][0] - 1
    reached = worse <= 0.05 or few["frechet"][0] <= many["frechet"][2]
    return f"{distance(few)} against {distance(many)}: {100 * worse:+.1f} %".replace("-", "−"), reached


def better(new: dict, old: dict) -> tuple[str, str]:
    """Whether more are recognised or the Fréchet distance is smaller, by more than both intervals allow for."""
    words = f"{share(new)} against {share(old)}, Fréchet {distance(new)} against {distance(old)}"
    recognised, apart = (difference(new[figure], old[figure]) for figure in ("share", "frechet"))
    gains = [recognised[1] > 0, apart[2] < 0]
    losses = [recognised[2] < 0, apart[1] > 0]
    if any(gains) and any(losses):
        return words, "one of the two"
    return words, "yes" if any(gains) else "**no**, worse" if any(losses) else "no difference shown"


def starting(section: Section, words: str) -> dict:
    return next(record for name, record in section.items() if name.startswith(words))


def last(section: Section, words: str) -> dict:
    return [record for name, record in section.items() if name.startswith(words)][-1]


Target = tuple[str, str, Callable[[Section], tuple[str, bool | str]]]

TARGETS: tuple[Target, ...] = (
    (
        "at least 95 % of the samples are recognised at the default settings",
        "guidance",
        lambda s: (share(starting(s, "default")), starting(s, "default")["share"][0] >= 0.95),
    ),
    (
        "88 calls within 5 % of 256 calls in Fréchet distance, or within its interval",
        "parallel",
        lambda s: closeness(s["88"], s["256"]),
    ),
    ("the model loads in under 1 s", "cost", lambda s: (seconds(s["load"]["seconds"]), s["load"]["seconds"] < 1)),
    (
        "one picture in under 3 s",
        "cost",
        lambda s: (seconds(s["one picture"]["seconds"]), s["one picture"]["seconds"] < 3),
    ),
    (
        "inpainting half of the object keeps the class in at least 90 %",
        "inpainting",
        lambda s: (share(s["half of the object inpainted"]), s["half of the object inpainted"]["share"][0] >= 0.9),
    ),
    (
        "a class edit of the whole object reaches the new class in at least 90 %",
        "inpainting",
        lambda s: (share(s["class edit of the whole object"]), s["class edit of the whole object"]["share"][0] >= 0.9),
    ),
    (
        "no seam in panoramas: gradient across window borders within 10 % of the gradient inside",
        "seams",
        lambda s: seamless(starting(s, "panorama"), "ratio_inside"),
    ),
    (
        "no seam in outpainted pictures, likewise",
        "seams",
        lambda s: seamless(starting(s, "outpainted"), "ratio_inside"),
    ),
    (
        "the same of pictures outpainted by several windows",
        "seams",
        lambda s: seamless(last(s, "outpainted"), "ratio_inside"),
    ),
    (
        "the same of panoramas, against the same places drawn again by one window",
        "seams",
        lambda s: seamless(starting(s, "panorama"), "ratio_same"),
    ),
    (
        "the same of outpainted pictures, against the real picture that was cut away",
        "seams",
        lambda s: seamless(starting(s, "outer quarters"), "ratio_same"),
    ),
    (
        "×2 pictures, scaled down, keep the class in at least 80 %",
        "extrapolation",
        lambda s: (share(s["×2, with spatial guidance"]), s["×2, with spatial guidance"]["share"][0] >= 0.8),
    ),
    (
        "what spatial guidance adds at ×2",
        "extrapolation",
        lambda s: better(s["×2, with spatial guidance"], s["×2, without spatial guidance"]),
    ),
    (
        "refining raises the share recognised or lowers the Fréchet distance",
        "refining",
        lambda s: better(starting_pair(s)[1], starting_pair(s)[0]),
    ),
    (
        "locality-aware order against random at 32 calls",
        "orders",
        lambda s: better(s["locality-aware, 32"], s["random, 32"]),
    ),
    (
        "locality-aware order against random at 16 calls",
        "orders",
        lambda s: better(s["locality-aware, 16"], s["random, 16"]),
    ),
    (
        "drawing a quarter of the cells takes at most 0.4 of a full picture's time",
        "cost",
        lambda s: quick_enough(s["a quarter of the cells"]),
    ),
    (
        "inpainting a quarter of a picture, from pixels to pixels, likewise",
        "cost",
        lambda s: quick_enough(s["a quarter of the picture inpainted"]),
    ),
)


def starting_pair(section: Section) -> tuple[dict, dict]:
    """As drawn at the default number of calls, and after one round."""
    first, second, *_ = section.values()
    return first, second


def targets(report: dict) -> str:
    judge = report["judge"]
    rows = [
        (
            "the judge recognises at least 99 % of fresh pictures",
            f"{share({'share': wilson(round(judge['accuracy'] * judge['count']), judge['count'])})}",
            "yes" if judge["accuracy"] >= 0.99 else "**no**",
        )
    ]
    for words, name, measure in TARGETS:
        if report["complete"].get(name):
            found, reached = measure(report["sections"][name])
            rows.append((words, found, reached if isinstance(reached, str) else "yes" if reached else "**no**"))
        else:
            rows.append((words, "not measured", ""))
    return table(("What", "Measured", "Reached"), rows)


# --- sections --------------------------------------------------------------------------------------------------------


def judged_table(section: Section, what: str) -> str:
    return table(
        (what, "pictures", "recognised", "Fréchet distance"),
        ((name, record["count"], share(record), distance(record)) for name, record in section.items()),
    )


def guidance(section: Section) -> str:
    headline = starting(section, "default")
    each = headline["count"] // len(headline["classes"])
    classes = ", ".join(f"{name} {right}" for name, right in headline["classes"].items())
    return f"""## Guidance

Class guidance goes to the weight from where the defaults begin; a weight below that holds throughout. Everything else
is as the model's defaults say.

{judged_table(section, "guidance weight")}

{picture("guidance", "Class accuracy and Fréchet distance by guidance weight")}

Recognised at the default weight, of {each} each: {classes}."""


def floors(section: Section) -> str:
    return f"""## Floors

What a perfect model could reach. A Fréchet distance falls with the number of pictures that it is measured from, so
that a row elsewhere is to be held against the floor of as many pictures here.

{judged_table(section, "what")}"""


def parallel(section: Section) -> str:
    rows = (
        (
            name,
            record["count"],
            share(record),
            distance(record),
            seconds(record["seconds"]),
            seconds(record["seconds_alone"]),
            f"{section['256']['seconds_alone'] / record['seconds_alone']:.1f} ×" if "256" in section else "",
        )
        for name, record in section.items()
    )
    header = ("calls", "pictures", "recognised", "Fréchet distance", "a picture, batched", "one alone", "faster")
    return f"""## Parallel decoding

Random order, default guidance, by the number of calls of the model for the 256 cells. Seconds from nothing to pixels.

{table(header, rows)}

{picture("parallel", "Fréchet distance and seconds by the number of calls")}"""


def orders(section: Section) -> str:
    def cell(order: str, calls: int, words: Callable[[dict], str]) -> str:
        record = section.get(f"{order}, {calls}")
        return words(record) if record else ""

    def rows(words: Callable[[dict], str]) -> Iterable[list[str]]:
        return ([order, *(cell(order, calls, words) for calls in CALLS_OF_ORDERS)] for order in every_order())

    counts = sorted({record["count"] for record in section.values()})
    header = ("order", *(f"{calls} calls" for calls in CALLS_OF_ORDERS))
    return f"""## Orders

{" or ".join(map(str, counts))} pictures a cell. Recognised:

{table(header, rows(share))}

Fréchet distance:

{table(header, rows(distance))}

{picture("orders", "Share recognised and Fréchet distance of every order by the number of calls")}"""


def confidence(section: Section) -> str:
    rows = (
        (name, record["count"], interval(record["told_apart"], 3), percent(record["found"]))
        for name, record in section.items()
    )
    header = ("what", "pictures", "told apart", "found")
    return f"""## Confidence

Fresh pictures of which a few cells show what another picture has there. "Told apart" is the share of pairs of such a
cell and a true one of its picture in which the model is less sure of the former (0.5 by chance); "found" the share of
such cells among as many that the model is least sure of, which are those that refining draws again.

{table(header, rows)}"""


def precisions(section: Section) -> str:
    rows = (
        (name, record["count"], percent(record["off"]), percent(record["same"]), share(record), distance(record))
        for name, record in section.items()
    )
    header = ("weights", "pictures", "logits off by", "same likeliest token", "recognised", "Fréchet distance")
    return f"""## Precisions

What weights of fewer bits do, in arithmetic of 32 bits. "Off by" is the root of the mean square difference from the
logits in float32, in parts of their spread, given the true tokens of fresh pictures.

{table(header, rows)}"""


def context(section: Section) -> str:
    names = {
        "nothing": "the class alone",
        "one side": "one side (mean of the four)",
        "four sides": "all four sides",
        "everything around": "everything around",
    }
    rows = (
        (names[name], record["cells"], record["count"], interval(record["likelihood"], 3))
        for name, record in section.items()
    )
    text = f"""## Context

Mean log-likelihood (nats a token, higher is better) of the true tokens of the centred block of a fresh picture, by
what is known around it: teacher-forced, in random order within the block, without guidance.

{table(("known", "cells", "pictures", "log-likelihood"), rows)}

{picture("context", "Log-likelihood of the true tokens by what is known")}"""
    if {"one side", "four sides"} <= section.keys():
        # Row by row the same pictures, of which one may have more than the other.
        pairs = zip(section["four sides"]["each"], section["one side"]["each"], strict=False)
        gain = np.array([more - less for more, less in pairs])
        text += f"""

As many cells on all four sides rather than on one add {interval(mean_interval(gain), 3)} nats a token (same pictures,
paired)."""
    return text


def beginnings(section: Section) -> str:
    return f"""## Beginnings

Fresh pictures of which so many cells, the first along a random order, are known; the rest is drawn. Where the share
recognised comes up to the floor, nothing is left to go wrong: what shape a picture has is decided before.

{judged_table(section, "true cells")}"""


def tokenizer(section: Section) -> str:
    (record,) = section.values()
    return f"""## Tokenizer

Over {record["count"]} fresh pictures: PSNR {interval(record["psnr"], 2)} dB; {record["codes_used"]} of
{record["codes"]} codes in use, perplexity {record["perplexity"]:.0f}."""


def inpainting(section: Section) -> str:
    return f"""## Inpainting and class edits

Fresh procedural pictures. The mask is the box about the object and its shadow, or the left, right, upper or lower half
of it. "Recognised" is as the class that was asked for; the first row shows what the judge makes of the visible half. In
the last one the objects are as free as the tokenizer and the judge know them, which alone puts them far from the
pictures that the distance is measured to.

{judged_table(section, "what")}"""


def seams(section: Section) -> str:
    def rows() -> Iterable[tuple]:
        for name, record in section.items():
            ratios = (record.get(f"ratio_{where}") for where in ("inside", "near", "phase", "same"))
            words = (interval(ratio, 2) if ratio else "" for ratio in ratios)
            yield name, record["count"], f"{record['across']:.4f}", *words

    others = (
        "to all others",
        "to those within a cell",
        "to the like places of patterns",
        "to the same places without a border",
    )
    header = ("what", "pictures", "across", *others)
    return f"""## Seams

The mean absolute step between neighbouring pixel columns across the borders of windows, and its ratio to other steps.
Steps are not alike everywhere even without windows, since objects gather in the middle, and patterns step at every
second or fourth cell: a border there has more of them than the columns beside it, one between has fewer. The last row
shows the measure on real pictures, which have no borders. "Like places" are those at the same phase of the patterns.
The last column compares with the same places without a border. For panoramas these are drawn anew by one window, an
eighth of its width to either side of the border, and have a row of their own; so narrow a band has to fit two sides,
and has more steps for it. Where the outer quarters of a real picture were cut away and drawn again, it compares with
this real picture.

{table(header, rows())}"""


def extrapolation(section: Section) -> str:
    return f"""## Extrapolation

Several times the trained size, scaled down for the judge.

{judged_table(section, "what")}"""


def refining(section: Section) -> str:
    return f"""## Refining

The least sure quarter of the cells drawn again, everything else known.

{judged_table(section, "what")}"""


def cost(section: Section) -> str:
    rows = []
    for name, record in section.items():
        if "ratio" in record:
            words = f"{seconds(record['quarter'])} against {seconds(record['full'])}: {record['ratio']:.2f}"
        else:
            words = seconds(record["seconds"])
        rows.append((name, words))
    return f"""## Seconds

At batch 1 and default settings. "A quarter of the cells" is drawn in the middle with the rest known, without the
tokenizer; "inpainted" it is with the tokenizer, which encodes the picture first. RandAR-L has random weights.

{table(("what", "seconds"), rows)}"""


SECTIONS = (
    guidance,
    floors,
    parallel,
    orders,
    context,
    beginnings,
    tokenizer,
    inpainting,
    seams,
    extrapolation,
    refining,
    confidence,
    cost,
    precisions,
)


def machines(report: dict) -> str:
    """A line for each thing that rows were measured on, with their sections."""
    measured: dict[str, list[str]] = {}
    for name, section in report["sections"].items():
        for record in section.values():
            names = measured.setdefault(record["on"], [])
            if name not in names:
                names.append(name)
    return "\n".join(f"  - {on}: {', '.join(names)}" for on, names in measured.items())


def page(report: dict) -> str:
    """The whole report. `report` is what quality.json holds."""
    model, judge = report["model"], report["judge"]
    defaults = ", ".join(f"{name} {value}" for name, value in model["defaults"].items() if value is not None)
    parts = [
        f"""# Quality of the built-in model

Written by `python benchmarks/quality.py`; the figures are in `quality.json`. Intervals are 95 %: Wilson's for shares,
bootstrap for the rest. By chance one picture in {len(CLASSES)} is recognised.

- Model: {model["name"]}, {millions(model["parameters"]["decoder"])} parameters and a tokenizer of
  {millions(model["parameters"]["tokenizer"])}, in {model["dtype"]}, file {model["sha256"][:12]}… Defaults: {defaults}.
- Judge: a classifier of {millions(judge["parameters"])} parameters, trained on {judge["training_pictures"]} procedural
  pictures and never shown a generated one (`benchmarks/judge.py`). It recognises {100 * judge["accuracy"]:.2f} % of
  {judge["count"]} fresh ones. Its layer before the last gives the Fréchet distance, against
  {judge["reference_count"]} others.
- Pictures: the judge learnt, and was tested on, objects that span {span(FREE)} of the picture's side, turned as far
  as each shape may be. The model was last trained on objects that span {span(PORTRAIT)}, turned by
  {PORTRAIT.turn:g}° at most, with moons, houses, trees and fish facing one way; so are the fresh pictures below, where
  nothing else is said, and those that the distance is measured to.
- Machines and dtypes:
{machines(report)}""",
        "## What must be reached",
        targets(report),
    ]
    for section in SECTIONS:
        name = section.__name__
        if report["complete"].get(name):
            parts.append(section(report["sections"][name]))
    if all(report["complete"].get(name) for name in ("inpainting", "extrapolation", "refining")):
        parts.append(picture("editing", "Share recognised of every editing task, and what is asked of it"))
    return "\n\n".join(parts) + "\n"
