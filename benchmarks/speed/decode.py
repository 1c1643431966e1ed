"""How fast and how large decoding is, with random weights of the released sizes, next to what the machine allows.

    python benchmarks/speed decode --suite                 # what `make bench` runs
    python benchmarks/speed decode                         # L and XL, batches 1, 4, 16, 88 steps, fastest and float32
    python benchmarks/speed decode --sizes L RAR-B --batches 1 --steps 256 88 32 --pixels 256 512 --known 0 0.75

Every case runs in a process of its own. Writes a table (`--out`, Markdown) and the raw numbers next to it (JSON).
Floors: a call must read the weights of its layers and the keys and values in the cache (bytes over the measured
bandwidth), and do its multiplications, those of attention too (operations over the measured rate of a large matrix
product). Both are means over the calls of the case.

Another implementation is timed in the same run, case by case, by a command that knows it:

    python benchmarks/speed decode --batches 1 4 --other "authors=python benchmarks/others/randar.py /path/to/RandAR"

`benchmarks/others/` has such commands for the authors' RandAR, for ARPG and for the authors' LPD. The command finds the
case as JSON in the environment's BENCH_CASE (size, dtype, pixels, steps, known, batch, device, threads, repeats, limit;
on the CPU the dtypes float16 and int8 are those of our weights, with float32 arithmetic) and prints, as its last line,
what decoding one such batch took:

    case = json.loads(os.environ["BENCH_CASE"])
    ...
    print(json.dumps({"seconds": median(times), "calls": case["steps"]}))
"""

import argparse
import itertools
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from random_models import random_model
from speed.floors import call_positions, floors, multiplications, projected
from speed.machine import (
    clock,
    fastest,
    forget_peak,
    free,
    held,
    measure_machine_in_process,
    peak,
    run_case,
    timed,
    write,
)
from torch.profiler import profile as operator_profile

from randar_core.checkpoints.releases import find_release
from randar_core.cli.arguments import PRECISIONS
from randar_core.decoding.canvas import Canvas
from randar_core.decoding.conditions import PromptBatch
from randar_core.decoding.guidance import Guidance, Linear
from randar_core.decoding.loop import decode
from randar_core.decoding.options import DecodingOptions
from randar_core.decoding.orders import ORDERS
from randar_core.decoding.plan import make_plan
from randar_core.models.arpg import ARPG
from randar_core.models.lpd import LPD
from randar_core.runtime.capabilities import can_pack_in
from randar_core.runtime.packed_linear import pack
from randar_core.runtime.precision import precision_of

SIZES = {
    "L": "randar-l-llamagen",
    "XL": "randar-xl-llamagen",
    "XXL": "randar-xxl-llamagen",
    "RAR-B": "rar-b",
    "RAR-L": "rar-l",
    "RAR-XL": "rar-xl",
    "LPD-L": "lpd-l-256",
    "LPD-XL": "lpd-xl-256",
    "ARPG-L": "arpg-l",
    "ARPG-XL": "arpg-xl",
}
SUITE = (
    {"dtypes": ["auto"], "pixels": [256], "steps": [88, 256, 32], "known": [0.0], "batches": [1, 4, 16, 64]},
    {"dtypes": ["auto"], "pixels": [256], "steps": [88], "known": [0.75], "batches": [1, 4, 16, 64]},
    # 484: on average 2.9 tokens a call, as 88 steps draw at 256 pixels. 352: the same number at each phase of the
    # cosine, whose phase of few tokens a call the low-resolution quarter skips.
    {"dtypes": ["auto"], "pixels": [512], "steps": [352], "known": [0.0], "batches": [1, 4, 16, 64]},
    {"dtypes": ["auto"], "pixels": [512], "steps": [484], "known": [0.0], "batches": [1]},
    {"dtypes": ["auto"], "pixels": [512], "steps": [256, 88, 32], "known": [0.0], "batches": [1]},
    {"dtypes": ["float32"], "pixels": [256], "steps": [88], "known": [0.0], "batches": [1, 4]},
    {"dtypes": ["int8"], "pixels": [256], "steps": [88], "known": [0.0], "batches": [1, 4]},
)

OPERATORS = 12  # of a profile that the table shows


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/speed decode",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--suite", action="store_true", help="the cases of `make bench`; only --sizes chooses from them"
    )
    parser.add_argument("--sizes", nargs="+", default=["L", "XL"], choices=SIZES)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--steps", nargs="+", type=int, default=[88])
    parser.add_argument("--pixels", nargs="+", type=int, default=[256], choices=[256, 512])
    parser.add_argument("--known", nargs="+", type=float, default=[0.0], help="share of the cells that is known")
    parser.add_argument(
        "--dtypes",
        nargs="+",
        default=["auto", "float32"],
        choices=PRECISIONS,
        help="auto: the fastest; on the CPU float16 and int8 are those of the weights, with float32 arithmetic",
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, … (default: the fastest available)")
    parser.add_argument("--threads", type=int, help="threads of the CPU (default: torch's)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--calls", type=int, help="stop after this number of calls; the time of an image is then projected"
    )
    parser.add_argument("--limit", type=float, default=60, help="seconds after which a decode is stopped and projected")
    parser.add_argument("--profile", action="store_true", help="report which operators take the time")
    parser.add_argument("--plain", action="store_true", help="leave the weights in torch's ordinary layout")
    parser.add_argument(
        "--other", action="append", default=[], metavar="NAME=COMMAND", help="time this in the same run"
    )
    parser.add_argument("--out", type=Path, default=Path("out/decode.md"))
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.case:
        print(json.dumps(measure(**json.loads(arguments.case))))
        return
    others = [other.partition("=") for other in arguments.other]
    for name, _, command in others:
        if not name or not command:
            parser.error(f"--other is NAME=COMMAND; got '{name}'")
    arguments.device = fastest(arguments.device)
    machine = measure_machine_in_process(arguments.device, arguments.threads)
    print(f"{machine['name']}: {machine['threads']} threads, {machine['bandwidth']:.1f} GB/s")
    keys = ("device", "threads", "repeats", "calls", "limit", "plain", "profile")
    common = {key: getattr(arguments, key) for key in keys}
    results = []
    for case in cases(arguments):
        case["dtype"] = resolved(case["dtype"], arguments.device)
        ours = run_case("decode", **case, **common, machine=machine)
        ours.pop("machine", None)  # a case that failed returns it
        theirs = [run_other(name, command, {**case, **common}, ours) for name, _, command in others]
        for result in (ours, *theirs):
            results.append(result)
            print(row(result, machine), flush=True)
        rows = [row(result, machine) for result in results]
        write(arguments.out, "Decoding speed", WORDS, HEADER, [*rows, *operators(results)], machine, results)


def cases(arguments: argparse.Namespace) -> Iterator[dict]:
    """Every case that is asked for, by size; the fast ones first."""
    grids = SUITE if arguments.suite else (vars(arguments),)
    for size, grid in itertools.product(arguments.sizes, grids):
        for dtype, pixels, steps, known, batch in itertools.product(
            *(grid[key] for key in ("dtypes", "pixels", "steps", "known", "batches"))
        ):
            if arguments.suite and dtype == "int8" and not (arguments.device == "cpu" and can_pack_in("int8")):
                continue
            yield {"size": size, "dtype": dtype, "pixels": pixels, "steps": steps, "known": known, "batch": batch}


def resolved(dtype: str, device: str) -> str:
    """The dtype of the weights on `device` if `dtype`, which may be "auto", is asked for."""
    precision = precision_of(dtype, torch.device(device))
    return precision.bits or str(precision.dtype).removeprefix("torch.")


def run_other(name: str, command: str, case: dict, ours: dict) -> dict:
    """The case as another implementation's `command` times it, and its time relative to `ours`."""
    environment = {**os.environ, "BENCH_CASE": json.dumps(case)}
    done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, text=True, env=environment)
    if done.returncode:
        return {**case, "code": name, "failed": f"exit status {done.returncode}"}
    try:
        said = json.loads(done.stdout.strip().splitlines()[-1])
        found = {"seconds": float(said["seconds"]), "calls": int(said["calls"])}
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(
            f'The last line of "{command}" is not JSON with "seconds" and "calls": {done.stdout[-200:]!r}'
        ) from error
    against = None if "failed" in ours else found["seconds"] / ours["whole_seconds"]
    whole = {"whole_calls": found["calls"], "whole_seconds": found["seconds"]}
    return {**case, "code": name, **found, **whole, "against_ours": against}


def measure(threads: int | None = None, **case) -> dict:
    if threads:
        torch.set_num_threads(threads)
    with torch.inference_mode():
        return measure_decode(**case)


def measure_decode(
    size, dtype, pixels, steps, known, batch, device, repeats, calls, limit, plain, profile, machine
) -> dict:
    """Seconds, memory and floors of one case, whose fields are those of the command line."""
    case = {"size": size, "dtype": dtype, "pixels": pixels, "steps": steps, "known": known, "batch": batch}
    device = torch.device(device)
    precision = precision_of(dtype, device)
    if plain:
        precision = replace(precision, bits=None)
        case["dtype"] = str(precision)
    before = held(device)
    release = find_release(SIZES[size])
    model = random_model(release.name, device, precision.dtype)
    linears = {name: m.weight.numel() for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    # Adaptive norms are computed once for many calls.
    elements = sum(count for name, count in linears.items() if "adaLN" not in name)
    itemsize = {None: precision.dtype.itemsize, "float16": 2, "int8": 1}[precision.bits]
    others = sum(parameter.numel() for parameter in model.parameters()) - sum(linears.values())
    weights = sum(linears.values()) * itemsize + others * precision.dtype.itemsize
    if not plain:
        pack(model, precision.bits)
    forget_peak(device)

    side = pixels // 16
    cells, factor = side * side, side // model.config.grid
    guidance, context_mask = Guidance(Linear(1.0, 4.0)), None
    if factor > 1:  # extrapolation: a large grid, a third row of guidance
        model = model.enlarged(factor, 2)
        guidance = Guidance(Linear(3.0, 3.0), spatial=Linear(2.5, 2.5))
        context_mask = torch.ones(batch, cells, device=device, dtype=torch.float32)
    known_cells = cells // factor**2 if factor > 1 else int(known * cells)
    mark = torch.zeros(cells, dtype=torch.bool)
    mark[torch.randperm(cells)[:known_cells]] = True
    mask = mark.view(1, side, side).expand(batch, -1, -1).contiguous().to(device)
    canvas = Canvas(Canvas.empty(batch, side, side, device).ids, mask)
    options = DecodingOptions(guidance, steps, 0, order=ORDERS[release.defaults.order])
    conditions = PromptBatch.of(torch.zeros(batch, dtype=torch.long, device=device)).on_cells(side, side)
    plan = make_plan(model, canvas.known, options)
    rows = len(guidance.rule().rows) * batch
    cache = model.state_bytes(rows, cells, precision.dtype.itemsize)
    # Half of that again for activations.
    if 1.5 * cache > free(device):
        return {**case, "failed": f"cache of {cache / 1e9:.1f} GB doesn't fit"}
    wanted, first = min(calls or cells, len(plan.sizes[0])), 0.0

    def run():
        nonlocal wanted, first
        reached, began = 0, clock(device)

        def on_step(progress):
            nonlocal reached, first
            reached = progress.call
            if reached == 1:
                first = clock(device) - began
            return reached < wanted and (reached < 4 or time.perf_counter() - began < limit)

        decode(model, canvas, plan, conditions, options, context_mask, on_step)
        wanted = reached  # if the first run is stopped, the others end there too

    times = timed(run, device, repeats, limit)
    sizes = plan.sizes[0]
    positions = call_positions(sizes, known_cells, model.traits.parallel, isinstance(model, LPD | ARPG))
    position_bytes = 2 * model.config.layers * rows * model.config.width * precision.dtype.itemsize
    arithmetic = str(precision.dtype).removeprefix("torch.")

    def least(position: tuple[int, int], drawn: int) -> float:
        """Seconds that a call takes at least, by the measured bandwidth and rate."""
        read = (elements * itemsize + position_bytes * position[0]) / machine["bandwidth"]
        multiplied = rows * multiplications(model.config, elements, [position], [drawn])
        return max(read, 2 * multiplied / machine["rates"][arithmetic]) / 1e9

    work = [least(*call) for call in zip(positions, sizes, strict=True)]
    return {
        **case,
        "calls": wanted,
        "whole_calls": len(sizes),
        "first_call": first,
        "rows": rows,
        "drawn": sum(sizes),
        **times,
        "whole_seconds": projected(times["seconds"], first, wanted, work),
        "peak_bytes": peak(device) - before,
        "packed": not plain,
        "weights": weights,
        "read": elements * itemsize,
        # Keys and values that a call finds in the cache, which has room for those of all positions.
        "cache_read": position_bytes * sum(found for found, _ in positions) / len(sizes),
        "cache": cache,
        # The intermediates of one block in the widest call, and the logits with the copies for guidance and sampling.
        "activations": rows * max(fed for _, fed in positions) * model.config.width * 12 * precision.dtype.itemsize
        + 3 * rows * max(sizes) * model.config.codebook_size * 4,
        "arithmetic": arithmetic,
        "multiplications": rows * multiplications(model.config, elements, positions, sizes),
        **({"operators": by_operator(run)} if profile else {}),
    }


def by_operator(run: Callable[[], object]) -> list[tuple[str, int, float]]:
    """(operator, number of calls, milliseconds without what it calls) of one `run`, the longest first."""
    with operator_profile() as profiled:
        run()
    found = [(each.key, each.count, each.self_cpu_time_total / 1000) for each in profiled.key_averages()]
    return sorted(found, key=lambda each: -each[2])


def operators(results: Sequence[dict]) -> Iterator[str]:
    """Lines of a table for each result that was profiled."""
    for result in results:
        if "operators" in result:
            total = sum(milliseconds for *_, milliseconds in result["operators"])
            case = ", ".join(f"{key} {result[key]}" for key in ("pixels", "steps", "known", "batch"))
            yield f"\n## {result['size']}, {result['dtype']}, {case}: where the time goes\n"
            yield "On the CPU, in the calls that were timed; each operator without what it calls.\n"
            yield "| operator | times | ms | share |\n|---|---|---|---|"
            for name, count, milliseconds in result["operators"][:OPERATORS]:
                yield f"| {name} | {count} | {milliseconds:.0f} | {100 * milliseconds / total:.1f} % |"


WORDS = (
    "Random weights; guidance on. Times are the median of the runs, which follow one to warm up; if that one takes "
    "longer than `--limit`, it is stopped there and is the only run. If not all calls were timed (n of m), the others "
    "are assumed to exceed the greater of their floors by the same factor. Floors are means over all calls. Peak "
    "memory: the high-water mark above the size before the run; computed is weights + cache + activations."
)
HEADER = (
    "| code | model | dtype | pixels | steps | known | batch | calls | runs | ms a call | floor: read | floor: multiply"
    " | s an image | images a second | peak MB | computed MB | time relative to ours |\n" + "|---" * 17 + "|"
)


def row(result: dict, machine: dict) -> str:
    ours = "code" not in result
    code = "ours" if ours else result["code"]
    cells = [code, *(f"{result[key]}" for key in ("size", "dtype", "pixels", "steps", "known", "batch"))]
    if "failed" in result:
        return "| " + " | ".join([*cells, result["failed"], *[""] * 9]) + " |"
    timed, whole = result["calls"], result["whole_calls"]
    cells.append(f"{whole}" if timed == whole else f"{timed} of {whole}")
    cells.append(f"{result['runs']}" if ours else "")  # others report only their result
    seconds = result["whole_seconds"]
    cells.append(f"{1000 * seconds / whole:.1f}")
    cells += [f"{floor:.1f}" for floor in floors(result, machine)] if ours else ["", ""]
    cells += [f"{seconds / result['batch']:.2f}", f"{result['batch'] / seconds:.3f}"]
    if ours:
        computed = result["weights"] + result["cache"] + result["activations"]
        cells += [f"{result['peak_bytes'] / 1e6:.0f}", f"{computed / 1e6:.0f}", ""]
    else:
        against = result["against_ours"]
        cells += ["", "", "" if against is None else f"{against:.2f}"]
    return "| " + " | ".join(cells) + " |"
