"""The quality report: measures the built-in model and writes quality.json, quality.md and plots.

    python benchmarks/quality                                    # all of it, into benchmarks/results
    python benchmarks/quality --only orders seams                # some sections
    python benchmarks/quality --only schedules --orders random halton --schedules cosine arccos --calls 16 20 32
    python benchmarks/quality --only families --models small-randar.safetensors small-arpg.safetensors

Every figure is saved in quality.json as soon as it is measured, so a run can be stopped and resumed. Figures of another
model are dropped.
"""

import argparse
import dataclasses
import hashlib
import json
import platform
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path

import torch
from matplotlib import pyplot as plt
from quality.bench import Bench, Row, Scope, every_order
from quality.comparison import FAMILIES, FAMILIES_ENLARGED, SCHEDULES
from quality.conditions import CONDITIONS, REGION_COST
from quality.cost import COST, PRECISIONS, TOKENIZER
from quality.editing import CONFIDENCE, EXTRAPOLATION, INPAINTING, REFINING
from quality.features import FEATURES
from quality.generation import BEGINNINGS, CONTEXT, FLOORS, GUIDANCE, ORDERS, PARALLEL
from quality.judge import WEIGHTS, TrainedJudge, load_judge
from quality.plots import STYLE
from quality.report import Section, measured, page
from quality.seams import SEAMS
from tqdm import tqdm

from randar_core.checkpoints.locate import locate
from randar_core.cli.arguments import PRECISIONS as DTYPES
from randar_core.decoding.schedule import SCHEDULES as CALL_SIZES
from randar_core.io.atomic import atomic_write
from randar_core.runtime.precision import precision_of

SECTIONS = (
    GUIDANCE,
    FLOORS,
    PARALLEL,
    ORDERS,
    SCHEDULES,
    FAMILIES,
    FAMILIES_ENLARGED,
    CONTEXT,
    BEGINNINGS,
    TOKENIZER,
    INPAINTING,
    SEAMS,
    EXTRAPOLATION,
    REFINING,
    CONFIDENCE,
    FEATURES,
    CONDITIONS,
    COST,
    REGION_COST,
    PRECISIONS,
)
RESULTS = Path(__file__).resolve().parents[1] / "results"


def machine(bench: Bench) -> str:
    """What a row is measured on, in words."""
    names = Path("/proc/cpuinfo")
    lines = names.read_text().splitlines() if names.exists() else []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    date = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    threads = torch.get_num_threads()
    return f"{cpu or platform.machine()}, {threads} threads, torch {torch.__version__}, {bench.precision}, {date}"


def describe_model(bench: Bench) -> dict:
    model = bench.model
    return {
        "name": model.name,
        "sha256": hashlib.sha256(bench.path.read_bytes()).hexdigest(),
        # 16 and 32 bits give pictures of one quality, and each row says in which it was measured.
        "dtype": bench.precision.bits if bench.precision.bits == "int8" else "16 or 32 bits",
        "parameters": bench.parameters,
        # Without settings that the model leaves open: a new one must not drop the figures of the others.
        "defaults": {name: value for name, value in dataclasses.asdict(model.defaults).items() if value is not None},
    }


def describe_judge(judge: TrainedJudge) -> dict:
    return {
        "sha256": hashlib.sha256(WEIGHTS.read_bytes()).hexdigest(),
        "accuracy": judge.accuracy,
        "count": judge.accuracy_count,
        "reference_count": judge.reference_count,
        "training_pictures": judge.training_count,
        "parameters": sum(p.numel() for p in judge.network.parameters()),
    }


def read_report(path: Path, tested: dict) -> dict:
    """The report so far, without figures of another model or judge than `tested`."""
    if path.exists():
        report = json.loads(path.read_text(encoding="utf-8"))
        if all(report[name] == tested[name] for name in ("model", "judge")):
            return report | tested
        tqdm.write(f"{path} is of another model or judge: everything is measured again.")
    return tested | {"sections": {}, "complete": {}}


def write_text(path: Path, text: str) -> None:
    """An atomic write in UTF-8."""
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")


def is_current(row: Row, record: dict | None) -> bool:
    """Whether `record` was measured with as many pictures as `row` asks for, of the same file."""
    return record is not None and record["count"] >= row.count and record.get("fingerprint") == row.fingerprint


def measure(name: str, rows: Iterable[Row], report: dict, again: bool, on: str, save: Callable[[], None]) -> None:
    """Measure those `rows` of a section that `report` has no current record of, and `save` after each.

    name: of the section.
    rows: of the section.
    report: is extended by the records.
    again: measure all rows.
    on: the machine in words.
    save: writes the report.
    """
    before = {} if again else report["sections"].get(name, {})
    rows = list(rows)
    records = {row.key: before[row.key] for row in rows if is_current(row, before.get(row.key))}
    for row in tqdm(rows, desc=name, unit=" rows", disable=None):
        if row.key not in records:
            with torch.inference_mode():
                figures = row.measure()
            fingerprint = {"fingerprint": row.fingerprint} if row.fingerprint else {}
            records[row.key] = {"title": row.title, "count": row.count, "on": on, **fingerprint, **figures}
            report["sections"][name] = in_order(rows, records, before)
            report["complete"][name] = len(records) == len(rows)
            save()
    report["sections"][name], report["complete"][name] = in_order(rows, records, before), True
    save()


def in_order(rows: Sequence[Row], records: dict, before: dict) -> dict:
    """The `records` of `rows` in their order, then records of a run with another scope."""
    return {row.key: records[row.key] for row in rows if row.key in records} | {
        key: record for key, record in before.items() if key not in records
    }


def draw_plots(report: dict, sections: Sequence[Section], folder: Path) -> None:
    """A PNG in `folder` for each plot whose sections are measured."""
    folder.mkdir(exist_ok=True)
    with plt.rc_context(STYLE):
        for plot in (section.plot for section in sections if section.plot):
            if measured(report, *plot.needs):
                figure = plot.draw(*(report["sections"][name] for name in plot.needs))
                figure.savefig(folder / f"{plot.name}.png", bbox_inches="tight")
                plt.close(figure)


def draw_sheets(bench: Bench, scope: Scope, sections: Sequence[Section], folder: Path) -> None:
    """A JPEG in `folder` for each sheet of the `sections`."""
    for sheet in tqdm([each for section in sections for each in section.sheets], desc="sheets", disable=None):
        with torch.inference_mode():
            figure = sheet.draw(bench, scope)
        quality = {"pil_kwargs": {"quality": 85}}
        figure.savefig(folder / f"{sheet.name}.jpg", bbox_inches="tight", dpi=STYLE["savefig.dpi"], **quality)
        plt.close(figure)


def run(bench: Bench, scope: Scope, sections: Sequence[Section], folder: Path, again: bool = False) -> dict:
    """Measure `sections` and write the report into `folder`; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "quality.json"
    report = read_report(path, {"model": describe_model(bench), "judge": describe_judge(bench.judge)})
    on = machine(bench)

    def save() -> None:
        write_text(path, json.dumps(report, ensure_ascii=False, indent=1) + "\n")

    for section in sections:
        measure(section.name, section.rows(bench, scope), report, again, on, save)
    write_text(folder / "quality.md", page(report, SECTIONS))
    draw_plots(report, SECTIONS, folder / "plots")
    draw_sheets(bench, scope, sections, folder / "plots")
    return report


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/quality", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [section.name for section in SECTIONS]
    parser.add_argument("--model", default="builtin", help="'builtin' or a bundle (default: builtin)")
    parser.add_argument(
        "--samples", type=int, default=1200, help="pictures of the headline row; others take a share (default: 1200)"
    )
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="SECTION", help=", ".join(names))
    parser.add_argument("--orders", nargs="+", choices=every_order(), default=Scope.orders, help="of 'schedules'")
    parser.add_argument("--schedules", nargs="+", choices=CALL_SIZES, default=Scope.schedules, help="of 'schedules'")
    parser.add_argument("--calls", nargs="+", type=int, default=Scope.calls, help="of 'schedules'")
    parser.add_argument("--models", nargs="+", type=Path, default=(), help="files that families are compared by")
    parser.add_argument("--family-calls", nargs="+", type=int, default=Scope.family_calls, help="of 'families'")
    parser.add_argument(
        "--out", type=Path, help="folder (default: benchmarks/results; out/quality for another model and --quick)"
    )
    parser.add_argument("--batch", type=int, default=48, help="pictures decoded together (default: 48)")
    parser.add_argument("--threads", type=int, help="default: torch's")
    parser.add_argument("--dtype", default="auto", choices=DTYPES, help="of the weights (default: the fastest)")
    parser.add_argument("--quick", action="store_true", help="a dozen pictures a row: only to see that it runs")
    parser.add_argument("--again", action="store_true", help="measure again what quality.json holds")
    arguments = parser.parse_args()
    if arguments.samples < 1 or arguments.batch < 1:
        parser.error("--samples and --batch must be at least 1")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    precision = precision_of(arguments.dtype, torch.device("cpu"))
    bench = Bench.open(locate(arguments.model), load_judge(), arguments.batch, precision)
    scope = Scope(
        12 if arguments.quick else arguments.samples,
        tuple(arguments.orders),
        tuple(arguments.schedules),
        tuple(arguments.calls),
        tuple(arguments.models),
        tuple(arguments.family_calls),
    )
    of_record = arguments.model == "builtin" and not arguments.quick
    out = arguments.out or (RESULTS if of_record else Path("out/quality"))
    run(bench, scope, [section for section in SECTIONS if section.name in arguments.only], out, arguments.again)
    print(f"{out / 'quality.md'} written")
