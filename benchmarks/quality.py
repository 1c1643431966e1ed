"""The quality report: measures the built-in model, writes quality.json, quality.md and plots.

Every figure is kept in quality.json as soon as it is measured, so that a run may be cut and taken up again, or done
section by section (`--only`). Figures of another model are dropped.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import quality_editing
import quality_sections
import torch
from judge import WEIGHTS, TrainedJudge, load_judge
from quality_bench import Bench, Counts, Row
from quality_page import page
from quality_plots import draw_plots
from tqdm import tqdm

from randar_core.checkpoints.locate import locate
from randar_core.checkpoints.model import load_model
from randar_core.cli.options import PRECISIONS
from randar_core.runtime.precision import precision_of

SECTIONS: dict[str, Callable[[Bench, Counts], Iterator[Row]]] = {
    section.__name__: section
    for section in (
        quality_sections.cost,
        quality_sections.tokenizer,
        quality_sections.floors,
        quality_sections.guidance,
        quality_sections.parallel,
        quality_sections.context,
        quality_sections.beginnings,
        quality_editing.inpainting,
        quality_editing.refining,
        quality_editing.seams,
        quality_editing.extrapolation,
        quality_sections.orders,
        quality_editing.confidence,
        quality_sections.precisions,
    )
}


def machine(bench: Bench) -> str:
    """What a row is measured on, in words."""
    names = Path("/proc/cpuinfo")
    lines = names.read_text().splitlines() if names.exists() else []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    date = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    threads = torch.get_num_threads()
    return f"{cpu or platform.machine()}, {threads} threads, torch {torch.__version__}, {bench.precision}, {date}"


def model_facts(bench: Bench) -> dict:
    model = bench.model
    return {
        "name": model.name,
        "sha256": hashlib.sha256(bench.path.read_bytes()).hexdigest(),
        # 16 and 32 bits draw pictures of one quality, and each row says in which it was measured.
        "dtype": bench.precision.bits if bench.precision.bits == "int8" else "16 or 32 bits",
        "parameters": bench.parameters,
        "defaults": dataclasses.asdict(model.defaults),
    }


def judge_facts(judge: TrainedJudge) -> dict:
    return {
        "sha256": hashlib.sha256(WEIGHTS.read_bytes()).hexdigest(),
        "accuracy": judge.accuracy,
        "count": judge.accuracy_count,
        "reference_count": judge.reference_count,
        "training_pictures": judge.training_count,
        "parameters": sum(p.numel() for p in judge.network.parameters()),
    }


def read_report(path: Path, facts: dict) -> dict:
    """The report so far, without figures of another model or judge."""
    if path.exists():
        report = json.loads(path.read_text(encoding="utf-8"))
        if all(report[part] == facts[part] for part in ("model", "judge")):
            return report | facts
        tqdm.write(f"{path} is of another model or judge: everything is measured anew.")
    return facts | {"sections": {}, "complete": {}}


def write_text(path: Path, text: str) -> None:
    """The file appears whole or not at all."""
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)


def measure(name: str, rows: Iterable[Row], report: dict, again: bool, on: str, keep: Callable[[], None]) -> None:
    """Measure the `rows` of a section that `report` doesn't hold with as many pictures or more; `keep` after each.

    `on` says what they are measured on.
    """
    before = {} if again else report["sections"].get(name, {})
    rows = list(rows)
    section = {row.name: before[row.name] for row in rows if before.get(row.name, {}).get("count", 0) >= row.count}
    for row in tqdm(rows, desc=name, unit=" rows", disable=None):
        if row.name not in section:
            with torch.inference_mode():
                section[row.name] = {"count": row.count, "on": on, **row.measure()}
            report["sections"][name] = in_order(rows, section, before)
            report["complete"][name] = len(section) == len(rows)
            keep()
    report["sections"][name], report["complete"][name] = in_order(rows, section, before), True
    keep()


def in_order(rows: list[Row], section: dict, before: dict) -> dict:
    """What was measured of `rows`, in their order, and then what a run with other counts left."""
    return {row.name: section[row.name] for row in rows if row.name in section} | {
        name: record for name, record in before.items() if name not in section
    }


def run(bench: Bench, counts: Counts, sections: Iterable[str], folder: Path, again: bool = False) -> dict:
    """Measure `sections` and write the report into `folder`; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "quality.json"
    report = read_report(path, {"model": model_facts(bench), "judge": judge_facts(bench.judge)})
    on = machine(bench)

    def keep() -> None:
        write_text(path, json.dumps(report, ensure_ascii=False, indent=1) + "\n")

    for name in sections:
        measure(name, SECTIONS[name](bench, counts), report, again, on, keep)
    write_text(folder / "quality.md", page(report))
    draw_plots(report, folder / "plots")
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="builtin", help="'builtin' or a bundle (default: builtin)")
    parser.add_argument(
        "--samples", type=int, default=1200, help="pictures of the headline row; others take a share (default: 1200)"
    )
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument(
        "--out", type=Path, help="folder (default: benchmarks; for another model and with --quick out/quality)"
    )
    parser.add_argument("--batch", type=int, default=48, help="pictures drawn together (default: 48)")
    parser.add_argument("--threads", type=int, help="default: torch's")
    parser.add_argument("--dtype", default="auto", choices=PRECISIONS, help="of the weights (default: the quickest)")
    parser.add_argument("--quick", action="store_true", help="a dozen pictures a row: only to see that it runs")
    parser.add_argument("--again", action="store_true", help="measure what quality.json holds already once more")
    arguments = parser.parse_args()
    if arguments.samples < 1 or arguments.batch < 1:
        parser.error("--samples and --batch must be at least 1")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    path = locate(arguments.model)
    precision = precision_of(arguments.dtype, torch.device("cpu"))
    model = load_model(path, dtype=precision.dtype)
    bench = Bench(path, model, load_judge(), arguments.batch, precision)
    counts = Counts(12 if arguments.quick else arguments.samples)
    of_record = arguments.model == "builtin" and not arguments.quick
    out = arguments.out or (Path(__file__).parent if of_record else Path("out/quality"))
    run(bench, counts, arguments.only or SECTIONS, out, arguments.again)
    print(f"{out / 'quality.md'} written")


if __name__ == "__main__":
    main()
