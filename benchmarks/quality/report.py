"""The quality report as Markdown. A section owns its rows, its text and its targets; records are found by row keys."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from quality.bench import Bench, Row, Scope
from quality.intervals import difference, wilson

from randar_core.procedural.landscape.pictures import CLASSES

Records = dict[str, dict]
"""The records of a section by the key of their row. Each has the `title` and `count` of its row."""

Found = tuple[str, bool | str]
"""A measured figure in words, and whether it reaches the target, or a verdict in words."""


@dataclass(frozen=True)
class Target:
    """What a section must reach. `found` needs the records of all of `keys`."""

    words: str
    keys: tuple[str, ...]
    found: Callable[..., Found]


@dataclass(frozen=True)
class Plot:
    """A plot, plots/`name`.png. `draw` takes the records of the sections that it `needs`, in that order."""

    name: str
    alt: str
    draw: Callable[..., Figure]
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Sheet:
    """Pictures of the model under test, plots/`name`.jpg."""

    name: str
    alt: str
    draw: Callable[[Bench, Scope], Figure]


@dataclass(frozen=True)
class Section:
    """One section of the report. `text` returns its Markdown below the heading."""

    name: str
    heading: str
    rows: Callable[[Bench, Scope], Iterator[Row]]
    text: Callable[[Records], str]
    targets: tuple[Target, ...] = ()
    plot: Plot | None = None
    sheets: tuple[Sheet, ...] = ()


# --- numbers in words ------------------------------------------------------------------------------------------------


def share(record: dict) -> str:
    return percent(record["share"])


def percent(values: Sequence[float]) -> str:
    value, low, high = (100 * x for x in values)
    return f"{value:.1f} % ({low:.1f}–{high:.1f})"


def distance(record: dict) -> str:
    """The Fréchet distance, which means nothing with fewer than five pictures a class."""
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


def judged_table(records: Records, head: str) -> str:
    return table(
        (head, "pictures", "recognised", "Fréchet distance"),
        ((record["title"], record["count"], share(record), distance(record)) for record in records.values()),
    )


def by_calls(records: Records, fields: Sequence[str], words: Callable[[dict], str]) -> str:
    """A table with one column for each number of `calls`, and one row for each combination of the other `fields`."""
    cells: dict[tuple, dict[int, str]] = {}
    for record in records.values():
        cells.setdefault(tuple(record[name] for name in fields), {})[record["calls"]] = words(record)
    columns = sorted({record["calls"] for record in records.values()}, reverse=True)
    rows = ((*names, *(row.get(calls, "") for calls in columns)) for names, row in cells.items())
    return table((*fields, *(f"{calls} calls" for calls in columns)), rows)


# --- verdicts --------------------------------------------------------------------------------------------------------


def recognised(least: float) -> Callable[[dict], Found]:
    """Whether a share of at least `least` is recognised."""
    return lambda record: (share(record), record["share"][0] >= least)


def better(new: dict, old: dict) -> Found:
    """Whether more are recognised or the Fréchet distance is smaller, by more than both intervals allow for."""
    words = f"{share(new)} against {share(old)}, Fréchet {distance(new)} against {distance(old)}"
    more, further = (difference(new[figure], old[figure]) for figure in ("share", "frechet"))
    gains = [more[1] > 0, further[2] < 0]
    losses = [more[2] < 0, further[1] > 0]
    if any(gains) and any(losses):
        return words, "one of the two"
    return words, "yes" if any(gains) else "**no**, worse" if any(losses) else "no difference shown"


def targets_table(report: dict, sections: Sequence[Section]) -> str:
    judge = report["judge"]
    accuracy = wilson(round(judge["accuracy"] * judge["count"]), judge["count"])
    rows = [
        (
            "the judge recognises at least 99 % of fresh pictures",
            percent(accuracy),
            "yes" if judge["accuracy"] >= 0.99 else "**no**",
        )
    ]
    for section in sections:
        records = report["sections"].get(section.name, {})
        for target in section.targets:
            if records.keys() >= set(target.keys):
                found, reached = target.found(*(records[key] for key in target.keys))
                rows.append((target.words, found, reached if isinstance(reached, str) else ("**no**", "yes")[reached]))
            else:
                rows.append((target.words, "not measured", ""))
    return table(("What", "Measured", "Reached"), rows)


# --- the page --------------------------------------------------------------------------------------------------------


def measured(report: dict, *names: str) -> bool:
    """Whether these sections are complete and hold rows."""
    return all(report["complete"].get(name) and report["sections"].get(name) for name in names)


def machines(report: dict) -> str:
    """One line for each machine and dtype that rows were measured on, with their sections."""
    sections_of: dict[str, list[str]] = {}
    for name, records in report["sections"].items():
        for record in records.values():
            names = sections_of.setdefault(record["on"], [])
            if name not in names:
                names.append(name)
    return "\n".join(f"  - {on}: {', '.join(names)}" for on, names in sections_of.items())


def page(report: dict, sections: Sequence[Section]) -> str:
    """The whole report. `report` is what quality.json holds."""
    model, judge = report["model"], report["judge"]
    defaults = ", ".join(f"{name} {value}" for name, value in model["defaults"].items() if value is not None)
    parts = [
        f"""# Quality of the built-in model

Written by `python benchmarks/quality`; the figures are in `quality.json`. Intervals are 95 %: Wilson's for shares,
bootstrap for the rest. By chance one picture in {len(CLASSES)} is recognised.

- Model: {model["name"]}, {millions(model["parameters"]["transformer"])} parameters and a tokenizer of
  {millions(model["parameters"]["tokenizer"])}, in {model["dtype"]}, file {model["sha256"][:12]}… Defaults: {defaults}.
- Judge: a classifier of {millions(judge["parameters"])} parameters, trained on {judge["training_pictures"]} drawn
  landscapes and never on a generated one (`benchmarks/quality/judge.py`). It recognises {100 * judge["accuracy"]:.2f} %
  of {judge["count"]} fresh ones. Its layer before the last gives the Fréchet distance to {judge["reference_count"]}
  further ones, of the classes that a row shows.
- Pictures: fresh ones are of the set that the model is trained on (`randar_core/procedural/landscape`), by a seed that
  neither model nor judge has seen.
- Machines and dtypes:
{machines(report)}""",
        "## Targets",
        targets_table(report, sections),
    ]
    for section in sections:
        if measured(report, section.name):
            parts += [f"## {section.heading}", section.text(report["sections"][section.name])]
            if section.plot and measured(report, *section.plot.needs):
                parts.append(f"![{section.plot.alt}](plots/{section.plot.name}.png)")
            parts += [f"![{sheet.alt}](plots/{sheet.name}.jpg)" for sheet in section.sheets]
    return "\n\n".join(parts) + "\n"
