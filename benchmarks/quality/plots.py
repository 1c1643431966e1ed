"""The plots of the quality report, from the records of its sections."""

from collections.abc import Sequence

import matplotlib
import numpy as np
import torch

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402 - after the choice of the backend
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import MaxNLocator  # noqa: E402
from torch import Tensor  # noqa: E402

BLUE, ORANGE, GREY = "#2b6cb0", "#dd6b20", "#718096"

STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e2e8f0",
    "axes.axisbelow": True,
    "font.size": 9,
    "legend.frameon": False,
    "savefig.dpi": 110,
}

EMPHASIZED = ("random", "locality-aware")
"""Orders whose lines are thick."""

MEASURES = {
    "cells": "probe of pieces, all cells",
    "things": "probe of pieces, cells of things",
    "kinds": "probe of kinds, all cells",
    "match": "match of kinds, all cells",
    "parts": "match of pieces, cells of things",
}
"""What is measured of features, by the names in their records."""


def with_errors(axes: Axes, x, intervals, scale: float = 1.0, **style) -> None:
    """Points `(value, low, high)` with their intervals."""
    value, low, high = scale * np.array(intervals).T
    axes.errorbar(x, value, (np.maximum(value - low, 0), np.maximum(high - value, 0)), capsize=2.5, **style)


def two_panels(width: float = 8.5) -> tuple[Figure, tuple[Axes, Axes]]:
    return plt.subplots(1, 2, figsize=(width, 3.2), layout="constrained")


def draw_floor(axes: Axes, floors: dict, count: int) -> None:
    for key, label, line in (("real", "real pictures", ":"), ("reconstructed", "reconstructions", "--")):
        record = floors.get(f"{key}-{count}")
        if record:
            axes.axhline(record["frechet"][0], color=GREY, linestyle=line, linewidth=1, label=label)
    axes.set_ylim(bottom=0)
    axes.legend()


def guidance(records: dict, floors: dict) -> Figure:
    figure, (left, right) = two_panels()
    rows = {float(key): record for key, record in records.items() if key != "default"}
    with_errors(left, list(rows), [r["share"] for r in rows.values()], 100, color=BLUE, marker="o")
    left.axhline(95, color=GREY, linestyle="--", linewidth=1)
    left.set(xlabel="guidance weight", ylabel="recognised (%)", ylim=(0, 102))
    with_errors(right, list(rows), [r["frechet"] for r in rows.values()], color=ORANGE, marker="o")
    right.set(xlabel="guidance weight", ylabel="Fréchet distance")
    draw_floor(right, floors, next(iter(rows.values()))["count"])
    return figure


def parallel(records: dict, floors: dict) -> Figure:
    figure, (left, right) = two_panels()
    calls = [int(key) for key in records]
    rows = list(records.values())
    with_errors(left, calls, [r["frechet"] for r in rows], color=ORANGE, marker="o")
    left.set(xlabel="calls", ylabel="Fréchet distance")
    draw_floor(left, floors, rows[0]["count"])
    right.plot(calls, [r["seconds_alone"] for r in rows], color=BLUE, marker="o", label="one picture alone")
    right.plot(calls, [r["seconds"] for r in rows], color=ORANGE, marker="o", label="a picture, batched")
    right.set(xlabel="calls", ylabel="seconds")
    right.set_ylim(bottom=0)
    right.legend()
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(calls, [str(c) for c in calls])
        axes.minorticks_off()
    return figure


def orders(records: dict) -> Figure:
    figure, (left, right) = two_panels(10)
    names = dict.fromkeys(record["order"] for record in records.values())
    calls = sorted({record["calls"] for record in records.values()}, reverse=True)
    for number, order in enumerate(names):
        by_calls = {record["calls"]: record for record in records.values() if record["order"] == order}
        x = [i for i, count in enumerate(calls) if count in by_calls]
        rows = [by_calls[calls[i]] for i in x]
        style = {"marker": "o", "markersize": 3.5, "color": plt.get_cmap("tab20")(number), "label": order}
        style["linewidth"] = 2.2 if order in EMPHASIZED else 1
        left.plot(x, [100 * r["share"][0] for r in rows], **style)
        right.plot(x, [r["frechet"][0] for r in rows], **style)
    left.set(ylabel="recognised (%)", ylim=(0, 102))
    right.set_ylabel("Fréchet distance")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.set_xticks(range(len(calls)), [str(count) for count in calls])
        axes.set_xlabel("calls")
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center")
    return figure


def sheet(rows: Sequence[Tensor], titles: Sequence[str] = (), names: Sequence[str] = (), width: float = 1.25) -> Figure:
    """Pictures `[B, 3, H, W]` in 0…1 of each row, below the `titles` of the columns and next to the rows' `names`.

    All have one size, and each is `width` inches wide. Raises ValueError where titles or names are fewer or more than
    the columns or rows.
    """
    columns, (high, wide) = len(rows[0]), rows[0].shape[2:]
    # One image: axes for each picture take longer to lay out than the pictures take to draw.
    gap = round(0.03 * wide)
    left, top = ([i * (side + gap) for i in range(count)] for side, count in ((wide, columns), (high, len(rows))))
    image = torch.ones(top[-1] + high, left[-1] + wide, 3)
    for y, pictures in zip(top, rows, strict=True):
        for x, picture in zip(left, pictures, strict=True):
            image[y : y + high, x : x + wide] = picture.clamp(0, 1).permute(1, 2, 0)
    figure, axes = plt.subplots(figsize=(width * columns, width * high / wide * len(rows)), layout="constrained")
    axes.imshow(image.numpy())
    axes.spines[:].set_visible(False)
    axes.grid(False)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.set_xticks([x + wide / 2 for x in left] if titles else [], titles or [], fontsize=9)
    axes.set_yticks([y + high / 2 for y in top] if names else [], names or [], rotation="vertical", va="center")
    return figure


def families(records: dict) -> Figure:
    """Fréchet distance of every model by calls, and by the seconds of one picture alone."""
    figure, (left, right) = two_panels()
    for number, model in enumerate(dict.fromkeys(record["model"] for record in records.values())):
        rows = sorted((r for r in records.values() if r["model"] == model), key=lambda r: r["calls"])
        style = {"marker": "o", "color": plt.get_cmap("tab10")(number), "label": model}
        with_errors(left, [r["calls"] for r in rows], [r["frechet"] for r in rows], **style)
        with_errors(right, [r["seconds_alone"] for r in rows], [r["frechet"] for r in rows], **style)
    left.set(xlabel="calls", ylabel="Fréchet distance", xscale="log")
    right.set(xlabel="seconds of one picture alone", xscale="log")
    calls = sorted({record["calls"] for record in records.values()})
    left.set_xticks(calls, [str(count) for count in calls])
    left.minorticks_off()
    for axes in (left, right):
        axes.set_ylim(bottom=0)
    left.legend()
    return figure


def context(records: dict) -> Figure:
    figure, axes = plt.subplots(figsize=(5.5, 2.4), layout="constrained")
    y = np.arange(len(records))[::-1]
    value, low, high = np.array([record["likelihood"] for record in records.values()]).T
    axes.errorbar(value, y, xerr=(value - low, high - value), fmt="o", capsize=3, color=BLUE)
    axes.set_yticks(y, [f"{record['title']} ({record['cells']} cells)" for record in records.values()])
    axes.set_ylim(-0.5, len(records) - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("log-likelihood of the true tokens (nats a token)")
    return figure


def editing(inpainting: dict, extrapolation: dict, refining: dict) -> Figure:
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    rows = [*inpainting.values(), *extrapolation.values(), *refining.values()]
    y = np.arange(len(rows))[::-1]
    value, low, high = 100 * np.array([record["share"] for record in rows]).T
    axes.barh(y, value, color=BLUE, alpha=0.75, height=0.65)
    errors = (np.maximum(value - low, 0), np.maximum(high - value, 0))
    axes.errorbar(value, y, xerr=errors, fmt="none", ecolor="#1a202c", capsize=2.5, linewidth=1)
    axes.set_yticks(y, [record["title"] for record in rows])
    axes.set(xlabel="recognised as the class asked for (%)", xlim=(0, 100))
    axes.grid(axis="y", visible=False)
    return figure


def features(records: dict) -> Figure:
    """Probe and matches by layer, of one pass and of two, with what a cell's token says alone."""
    figure, axes = plt.subplots(1, len(MEASURES), figsize=(15, 3.2), layout="constrained", sharey=True)
    for panel, (name, title) in zip(axes, MEASURES.items(), strict=True):
        for key, colour, label in (("one", ORANGE, "one pass"), ("two", BLUE, "two passes")):
            shares = [layer[name] for layer in records[key]["layers"]]
            with_errors(panel, range(1, len(shares) + 1), shares, 100, color=colour, marker="o", label=label)
        for key, line, label in (
            ("codebook", "--", "codebook vectors"),
            ("embedding", "-.", "token embeddings"),
            ("position", ":", "same position"),
        ):
            alone = records[key]["layers"][0]
            if name in alone:
                panel.axhline(100 * alone[name][0], color=GREY, linestyle=line, linewidth=1, label=label)
        panel.set(xlabel="layer", title=title)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set_ylabel("right (%)")
    figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure
