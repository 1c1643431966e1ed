"""Sections of the quality report that compare: orders by call sizes on one model, and models of several families.

What they range over is chosen on the command line: `--orders`, `--schedules`, `--calls`; `--models`, `--family-calls`.
"""

import hashlib
from collections.abc import Iterator
from functools import cache

from quality import plots
from quality.bench import Bench, Row, Scope
from quality.cost import seconds_alone
from quality.editing import judged_inpainting
from quality.report import Plot, Records, Section, by_calls, distance, seconds, share, table

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


def schedules_text(records: Records) -> str:
    counts = sorted({record["count"] for record in records.values()})
    return f"""Orders and call sizes at the same number of calls, {" or ".join(map(str, counts))} pictures each, default
guidance. Recognised:

{by_calls(records, ("order", "schedule"), share)}

Fréchet distance:

{by_calls(records, ("order", "schedule"), distance)}"""


SCHEDULES = Section("schedules", "Orders and call sizes", schedules_rows, schedules_text)


# --- families --------------------------------------------------------------------------------------------------------


def families_rows(bench: Bench, scope: Scope) -> Iterator[Row]:
    """Models of other families on the same pictures: quality, seconds and inpainting by the number of calls."""
    for path in scope.models:

        @cache
        def tested(path=path) -> Bench:
            return Bench.open(path, bench.judge, bench.batch, bench.precision)

        fingerprint = hashlib.sha256(path.read_bytes()).hexdigest()
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
