"""The plots of the quality report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from quality_bench import every_order
from quality_sections import CALLS_OF_ORDERS

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402 - after the choice of what it draws with
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import MaxNLocator  # noqa: E402

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


def draw_plots(report: dict, folder: Path) -> None:
    """A PNG in `folder` for each plot whose sections were measured."""
    folder.mkdir(exist_ok=True)
    with plt.rc_context(STYLE):
        for plot, needs in PLOTS.items():
            if all(report["complete"].get(name) for name in needs):
                figure = plot(*(report["sections"][name] for name in needs))
                figure.savefig(folder / f"{plot.__name__}.png", bbox_inches="tight")
                plt.close(figure)


def with_errors(axes: Axes, x, intervals, scale: float = 1.0, **style) -> None:
    """Points `(value, low, high)` with their intervals."""
    value, low, high = scale * np.array(intervals).T
    axes.errorbar(x, value, (np.maximum(value - low, 0), np.maximum(high - value, 0)), capsize=2.5, **style)


def two_panels(width: float = 8.5) -> tuple[Figure, tuple[Axes, Axes]]:
    return plt.subplots(1, 2, figsize=(width, 3.2), layout="constrained")


def floor_of(floors: dict, count: int, words: str) -> float | None:
    record = floors.get(f"{words}, {count}")
    return record and record["frechet"][0]


def draw_floor(axes: Axes, floors: dict, count: int) -> None:
    for words, line in (("real pictures", ":"), ("reconstructions", "--")):
        value = floor_of(floors, count, words)
        if value is not None:
            axes.axhline(value, color=GREY, linestyle=line, linewidth=1, label=words)
    axes.set_ylim(bottom=0)
    axes.legend()


def guidance(section: dict, floors: dict) -> Figure:
    figure, (left, right) = two_panels()
    rows = {float(name): record for name, record in section.items() if not name.startswith("default")}
    with_errors(left, list(rows), [r["share"] for r in rows.values()], 100, color=BLUE, marker="o")
    left.axhline(95, color=GREY, linestyle="--", linewidth=1)
    left.set(xlabel="guidance weight", ylabel="recognised (%)", ylim=(0, 102))
    with_errors(right, list(rows), [r["frechet"] for r in rows.values()], color=ORANGE, marker="o")
    right.set(xlabel="guidance weight", ylabel="Fréchet distance")
    draw_floor(right, floors, next(iter(rows.values()))["count"])
    return figure


def parallel(section: dict, floors: dict) -> Figure:
    figure, (left, right) = two_panels()
    calls = [int(name) for name in section]
    records = list(section.values())
    with_errors(left, calls, [r["frechet"] for r in records], color=ORANGE, marker="o")
    left.set(xlabel="calls", ylabel="Fréchet distance")
    draw_floor(left, floors, records[0]["count"])
    right.plot(calls, [r["seconds_alone"] for r in records], color=BLUE, marker="o", label="one picture alone")
    right.plot(calls, [r["seconds"] for r in records], color=ORANGE, marker="o", label="a picture, batched")
    right.set(xlabel="calls", ylabel="seconds")
    right.set_ylim(bottom=0)
    right.legend()
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(calls, [str(c) for c in calls])
        axes.minorticks_off()
    return figure


def orders(section: dict) -> Figure:
    figure, (left, right) = two_panels(10)
    places = np.arange(len(CALLS_OF_ORDERS))
    for number, order in enumerate(every_order()):
        records = [section[f"{order}, {calls}"] for calls in CALLS_OF_ORDERS]
        style = {"marker": "o", "markersize": 3.5, "color": plt.get_cmap("tab20")(number), "label": order}
        style["linewidth"] = 2.2 if order in ("random", "locality-aware") else 1
        left.plot(places, [100 * r["share"][0] for r in records], **style)
        right.plot(places, [r["frechet"][0] for r in records], **style)
    left.set(ylabel="recognised (%)", ylim=(0, 102))
    right.set_ylabel("Fréchet distance")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.set_xticks(places, [str(calls) for calls in CALLS_OF_ORDERS])
        axes.set_xlabel("calls")
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center")
    return figure


def context(section: dict) -> Figure:
    figure, axes = plt.subplots(figsize=(5.5, 2.4), layout="constrained")
    places = np.arange(len(section))[::-1]
    value, low, high = np.array([record["likelihood"] for record in section.values()]).T
    axes.errorbar(value, places, xerr=(value - low, high - value), fmt="o", capsize=3, color=BLUE)
    names = [f"{name} ({record['cells']} cells)" for name, record in section.items()]
    axes.set_yticks(places, names)
    axes.set_ylim(-0.5, len(section) - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("log-likelihood of the true tokens (nats a token)")
    return figure


def editing(inpainting: dict, extrapolation: dict, refining: dict) -> Figure:
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    asked = {"half of the object inpainted": 90, "class edit of the whole object": 90, "×2, with spatial guidance": 80}
    rows = inpainting | extrapolation | refining
    places = np.arange(len(rows))[::-1]
    shares = 100 * np.array([record["share"] for record in rows.values()])
    value, low, high = shares.T
    axes.barh(places, value, color=BLUE, alpha=0.75, height=0.65)
    axes.errorbar(
        value,
        places,
        xerr=(np.maximum(value - low, 0), np.maximum(high - value, 0)),
        fmt="none",
        ecolor="#1a202c",
        capsize=2.5,
        linewidth=1,
    )
    for place, name in zip(places, rows, strict=True):
        if name in asked:
            axes.plot([asked[name]] * 2, [place - 0.42, place + 0.42], color=ORANGE, linewidth=2.5)
    axes.set_yticks(places, list(rows))
    axes.set(xlabel="recognised as the class asked for (%); orange: what is asked", xlim=(0, 100))
    axes.grid(axis="y", visible=False)
    return figure


PLOTS: dict[Callable[..., Figure], tuple[str, ...]] = {
    guidance: ("guidance", "floors"),
    parallel: ("parallel", "floors"),
    orders: ("orders",),
    context: ("context",),
    editing: ("inpainting", "extrapolation", "refining"),
}
