"""Sections of the quality report that compare: orders by call sizes on one model, and models of several families.

What they range over is chosen on the command line: `--orders`, `--schedules`, `--calls`; `--models`, `--family-calls`.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from quality import plots
from quality.bench import Bench, Row, Scope
from quality.cost import seconds_alone
from quality.editing import judged_extrapolation, judged_inpainting
from quality.intervals import Interval, difference, wilson
from quality.report import Plot, Records, Section, by_calls, distance, interval, percent, seconds, share, table

# --- orders and schedules --------------------------------------------------------------------------------------------


def schedules_rows(bench: Bench, scope: Scope) -> Iterator[Row]:
    """Orders by call sizes, at several numbers of calls."""
    for order in scope.orders:
        for schedule in scope.schedules:
            for calls in scope.calls:

                def measure(order=order, schedule=schedule, calls=calls) -> dict:
                    title = f"{order}, {schedule}, {calls} calls"
                    changes = {"order": order, "schedule": schedule, "steps": calls}
                    return {**changes, "calls": calls, **bench.judged_samples(scope.compared, title, **changes)}

                key = f"{order}, {schedule}, {calls}"
                yield Row(key, f"{key} calls", scope.compared, measure)


def compared_orders(records: Records, new: str, old: str) -> str:
    """Whether the order `new` measures as well as `old` with the same call sizes, calls and pictures, in a sentence.

    Shares are pooled over all settings that both were measured at, Fréchet distances averaged. Empty without any.
    """
    settings = {name: {} for name in (new, old)}
    for record in records.values():
        if record["order"] in settings:
            settings[record["order"]][record["schedule"], record["calls"], record["count"]] = record
    both = settings[new].keys() & settings[old].keys()
    if not both:
        return ""
    (new_share, new_distance), (old_share, old_distance) = (
        pooled([settings[name][setting] for setting in both]) for name in (new, old)
    )
    more, further = difference(new_share, old_share), difference(new_distance, old_distance)
    gains, losses = more[1] > 0 or further[2] < 0, more[2] < 0 or further[1] > 0
    if gains == losses:
        verdict = f"These intervals show no difference: within them, {new} measures as well as {old}."
    else:
        verdict = f"So {new} measures {'better' if gains else 'worse'} than {old}."
    return f"""Over the {len(both)} settings that both were measured at, {new} is recognised in {percent(new_share)} and
{old} in {percent(old_share)}, a difference of {interval([100 * value for value in more], 1)} points. Their mean Fréchet
distances are {interval(new_distance, 2)} and {interval(old_distance, 2)}, a difference of {interval(further, 2)}.
{verdict}"""


def pooled(records: Sequence[dict]) -> tuple[Interval, Interval]:
    """The share of all pictures of the `records`, and the mean of their Fréchet distances."""
    distances = np.array([record["frechet"] for record in records])
    value = distances[:, 0].mean()
    below, above = (np.linalg.norm(distances[:, end] - distances[:, 0]) / len(records) for end in (1, 2))
    shares = wilson(sum(record["right"] for record in records), sum(record["count"] for record in records))
    return shares, (float(value), float(value - below), float(value + above))


def schedules_text(records: Records) -> str:
    counts = sorted({record["count"] for record in records.values()})
    mixed = ""
    if len(counts) > 1:
        mixed = " Of fewer pictures a Fréchet distance is larger: those of different numbers can't be compared."
    return f"""Orders and call sizes at the same number of calls, {" or ".join(map(str, counts))} pictures each, default
guidance.{mixed} Recognised:

{by_calls(records, ("order", "schedule"), share)}

Fréchet distance:

{by_calls(records, ("order", "schedule"), distance)}

{compared_orders(records, "proximity", "locality-aware")}""".rstrip()


SCHEDULES = Section("schedules", "Orders and call sizes", schedules_rows, schedules_text)


# --- families --------------------------------------------------------------------------------------------------------


def opened(bench: Bench, scope: Scope) -> Iterator[tuple[Path, Callable[[], Bench], str]]:
    """Of every file in `scope.models` its path, what opens it and its hash.

    ValueError for two files of one name, which names their rows.
    """
    names = [path.stem for path in scope.models]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"Several of the models are called '{twice[0]}': give their files other names.")
    for path in scope.models:

        @cache
        def tested(path=path) -> Bench:
            return Bench.open(path, bench.judge, bench.batch, bench.precision)

        yield path, tested, hashlib.sha256(path.read_bytes()).hexdigest()


def families_rows(bench: Bench, scope: Scope) -> Iterator[Row]:
    """Models of other families on the same pictures: quality, seconds and inpainting by the number of calls."""
    for path, tested, fingerprint in opened(bench, scope):
        for calls in scope.family_calls:

            def measure(calls=calls, tested=tested) -> dict:
                other = tested()
                title = f"{other.model.name}, {calls} calls"
                inpainted = judged_inpainting(other, scope.some, f"{title}, inpainting", steps=calls)
                return {
                    "model": other.model.name,
                    "parameters": other.parameters["transformer"],
                    "calls": calls,
                    **other.judged_samples(scope.compared, title, steps=calls),
                    "seconds_alone": seconds_alone(other, steps=calls),
                    "inpainted": inpainted["share"],
                    "inpainted_frechet": inpainted["frechet"],
                    "inpainted_count": scope.some,
                }

            yield Row(f"{path.stem}, {calls}", f"{path.stem}, {calls} calls", scope.compared, measure, fingerprint)


def families_text(records: Records) -> str:
    def rows() -> Iterator[tuple]:
        for record in records.values():
            inpainted = {
                "share": record["inpainted"],
                "frechet": record["inpainted_frechet"],
                "count": record["inpainted_count"],
            }
            yield (
                record["model"],
                f"{record['parameters'] / 1e6:.2f} M",
                record["calls"],
                share(record),
                distance(record),
                seconds(record["seconds_alone"]),
                seconds(record["seconds"]),
                share(inpainted),
                distance(inpainted),
            )

    header = (
        "model",
        "parameters",
        "calls",
        "recognised",
        "Fréchet distance",
        "one picture alone",
        "a picture, batched",
        "half inpainted: recognised",
        "Fréchet distance",
    )
    return f"""Models of several families with the same tokenizer and training data, each with its own default guidance,
order and call sizes, by the number of calls.

{table(header, rows())}"""


FAMILIES = Section(
    "families",
    "Families",
    families_rows,
    families_text,
    plot=Plot("families", "Fréchet distance of every model by calls and by seconds", plots.families, ("families",)),
)


# --- families, enlarged ----------------------------------------------------------------------------------------------


def enlarged_rows(bench: Bench, scope: Scope) -> Iterator[Row]:
    """Pictures of twice the trained size by each of the models, with its own guidance; a refusal in its words."""
    for path, tested, fingerprint in opened(bench, scope):

        def measure(tested=tested) -> dict:
            other = tested()
            defaults = other.model.defaults
            try:
                other.model.transformer.enlarged(2, defaults.boundary)
            except ValueError as error:
                return {"model": other.model.name, "refused": str(error)}
            guidance = other.model.guidance()
            figures = judged_extrapolation(other, scope.few, f"{other.model.name}, ×2", 2, guidance)
            return {"model": other.model.name, "calls": defaults.steps, **figures}

        yield Row(path.stem, path.stem, scope.few, measure, fingerprint)


def enlarged_text(records: Records) -> str:
    drawn = (record for record in records.values() if "refused" not in record)
    rows = ((r["model"], f"{r['calls']} + {r['calls']}", r["count"], share(r), distance(r)) for r in drawn)
    refused = "".join(f"\n\n{r['model']}: “{r['refused']}”" for r in records.values() if "refused" in r)
    return f"""Pictures of twice the trained size by models of several families, each with its own default guidance and
number of calls, once for the small picture and once for the rest; scaled down for the judge.

{table(("model", "calls", "pictures", "recognised", "Fréchet distance"), rows)}{refused}"""


FAMILIES_ENLARGED = Section("families-enlarged", "Families at twice their size", enlarged_rows, enlarged_text)
