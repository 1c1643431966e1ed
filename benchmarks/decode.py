"""How fast and how large decoding is, with random weights of the released sizes, beside what the machine allows.

    python benchmarks/decode.py --suite                 # what `make bench` runs
    python benchmarks/decode.py                         # L and XL, batches 1, 4, 16, 88 steps, quickest and float32
    python benchmarks/decode.py --sizes L RAR-B --batches 1 --steps 256 88 32 --pixels 256 512 --known 0 0.75

Every case runs in a process of its own. Writes a table (`--out`, Markdown) and the raw numbers beside it (JSON).
Floors: a call must read the weights of its layers and what lies in the cache by then (bytes over the measured
bandwidth), and do its multiplications, those of attention too (operations over the measured rate of a large matrix
product). Both are means over the calls of the case.

Another implementation is timed beside ours, case by case, by a command that knows it:

    python benchmarks/decode.py --batches 1 4 --other "authors=python benchmarks/others/randar.py /path/to/RandAR"

`benchmarks/others/` has such commands for the authors' RandAR and for ARPG. The command finds the case as JSON in the
environment's BENCH_CASE (size, dtype, pixels, steps, known, batch, device, threads, repeats, limit; on the CPU the
dtypes float16 and int8 are those of our weights, in float32 arithmetic) and prints, as its last line, what decoding one
such batch took:

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
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from machine import (
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

from randar_core.cli.options import PRECISIONS
from randar_core.runtime.capabilities import can_pack_in
from randar_core.runtime.precision import precision_of

SIZES = {
    "L": "randar-l-llamagen",
    "XL": "randar-xl-llamagen",
    "XXL": "randar-xxl-llamagen",
    "RAR-B": "rar-b",
    "RAR-L": "rar-l",
    "RAR-XL": "rar-xl",
}
SUITE = (
    {"dtypes": ["auto"], "pixels": [256], "steps": [88, 256, 32], "known": [0.0], "batches": [1, 4, 16, 64]},
    {"dtypes": ["auto"], "pixels": [256], "steps": [88], "known": [0.75], "batches": [1, 4, 16, 64]},
    # 484: on average 2.9 tokens a call, as 88 steps draw at 256 pixels. 352: as many at each phase of the cosine, whose
    # phase of few the low-resolution quarter spares.
    {"dtypes": ["auto"], "pixels": [512], "steps": [352], "known": [0.0], "batches": [1, 4, 16, 64]},
    {"dtypes": ["auto"], "pixels": [512], "steps": [484], "known": [0.0], "batches": [1]},
    {"dtypes": ["auto"], "pixels": [512], "steps": [256, 88, 32], "known": [0.0], "batches": [1]},
    {"dtypes": ["float32"], "pixels": [256], "steps": [88], "known": [0.0], "batches": [1, 4]},
    {"dtypes": ["int8"], "pixels": [256], "steps": [88], "known": [0.0], "batches": [1, 4]},
)

OPERATORS = 12  # of a profile that are shown


def main(argv: Sequence[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
        help="auto: the quickest; on the CPU float16 and int8 are those of the weights, in float32 arithmetic",
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, … (default: the fastest there is)")
    parser.add_argument("--threads", type=int, help="threads of the CPU (default: torch's)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--calls", type=int, help="stop after so many calls; the time an image is then projected")
    parser.add_argument("--limit", type=float, default=60, help="seconds after which a decode is cut and projected")
    parser.add_argument("--profile", action="store_true", help="say which operators take the time, too")
    parser.add_argument("--plain", action="store_true", help="leave the weights in torch's ordinary layout")
    parser.add_argument("--other", action="append", default=[], metavar="NAME=COMMAND", help="time this beside ours")
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
        ours = run_case(__file__, **case, **common, machine=machine)
        ours.pop("machine", None)  # which a case that failed gives back
        theirs = [run_other(name, command, {**case, **common}, ours) for name, _, command in others]
        for result in (ours, *theirs):
            results.append(result)
            print(row(result, machine), flush=True)
        rows = [row(result, machine) for result in results]
        write(arguments.out, "Decoding speed", WORDS, HEADER, [*rows, *operators(results)], machine, results)


def cases(arguments: argparse.Namespace) -> Iterator[dict]:
    """Every case that is asked for, by size; the quick ones first."""
    grids = SUITE if arguments.suite else (vars(arguments),)
    for size, grid in itertools.product(arguments.sizes, grids):
        for dtype, pixels, steps, known, batch in itertools.product(
            *(grid[key] for key in ("dtypes", "pixels", "steps", "known", "batches"))
        ):
            if arguments.suite and dtype == "int8" and not (arguments.device == "cpu" and can_pack_in("int8")):
                continue
            yield {"size": size, "dtype": dtype, "pixels": pixels, "steps": steps, "known": known, "batch": batch}


def resolved(dtype: str, device: str) -> str:
    """What the weights are really in on `device` where `dtype`, which may be "auto", is asked for."""
    import torch

    precision = precision_of(dtype, torch.device(device))
    return precision.bits or str(precision.dtype).removeprefix("torch.")


def run_other(name: str, command: str, case: dict, ours: dict) -> dict:
    """The case as another implementation's `command` times it, and its time against `ours`."""
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
    from randar_core.runtime.huge_pages import ask_for_huge_pages

    ask_for_huge_pages()  # as the command line does
    import torch

    if threads:
        torch.set_num_threads(threads)
    with torch.inference_mode():
        return measure_decode(**case)


def measure_decode(
    size, dtype, pixels, steps, known, batch, device, repeats, calls, limit, plain, profile, machine
) -> dict:
    import torch

    from randar_core.checkpoints.families import family_of
    from randar_core.checkpoints.model import Model
    from randar_core.checkpoints.releases import find_release
    from randar_core.decoding.canvas import Canvas
    from randar_core.decoding.guidance import Linear, spatial_guidance
    from randar_core.decoding.loop import Setting, decode
    from randar_core.decoding.orders import ORDERS
    from randar_core.decoding.plan import make_plan
    from randar_core.runtime.packed_linear import pack

    case = {"size": size, "dtype": dtype, "pixels": pixels, "steps": steps, "known": known, "batch": batch}
    device = torch.device(device)
    precision = precision_of(dtype, device)
    if plain:
        precision = replace(precision, bits=None)
        dtype = str(precision)
        case["dtype"] = dtype
    before = held(device)
    release = find_release(SIZES[size])
    family = family_of(release.config)
    config = release.config
    model = family.network(config, device, precision.dtype).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.normal_(0, 0.02)
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
    cells, factor = side * side, side // config.grid
    canvas = Canvas.empty(batch, side, side, device)
    mark = torch.zeros(cells, dtype=torch.bool)
    known_cells = cells // factor**2 if factor > 1 else int(known * cells)
    mark[torch.randperm(cells)[:known_cells]] = True
    canvas = Canvas(canvas.ids, mark.view(1, side, side).expand(batch, -1, -1).contiguous().to(device))
    guidance = Model(release.name, model, None, (), release.defaults).guidance()
    setting = Setting(torch.zeros(batch, dtype=torch.long, device=device), guidance)
    if factor > 1:  # extrapolation: a large grid, a third row of guidance
        guidance = spatial_guidance(Linear(3.0, 3.0), Linear(2.5, 2.5))
        setting = Setting(
            setting.classes,
            guidance,
            table=model.extrapolated_table(factor),
            context_kept=torch.ones(batch, cells, device=device),
        )
    plan = make_plan(canvas, steps, 0, ORDERS[release.defaults.order], parallel=model.parallel)
    rows = len(setting.guidance.rows) * batch
    cache = model.cache_bytes(rows, cells, precision.dtype.itemsize)
    # Half as much again for what is computed on the way.
    if 1.5 * cache > free(device):
        return {**case, "failed": f"cache of {cache / 1e9:.1f} GB doesn't fit"}
    wanted, first = min(calls or cells, len(plan.sizes[0])), 0.0

    def run():
        nonlocal wanted, first
        reached, began = 0, clock(device)

        def watch(now):
            nonlocal reached, first
            reached = now.call
            if reached == 1:
                first = clock(device) - began
            return reached < wanted and (reached < 4 or time.perf_counter() - began < limit)

        decode(model, canvas, plan, setting, watch)
        wanted = reached  # where the first was cut, the others end there too

    times = timed(run, device, repeats, limit)
    sizes = plan.sizes[0]
    places = call_places(sizes, known_cells, model.parallel)
    bytes_a_place = 2 * config.layers * rows * config.width * precision.dtype.itemsize
    arithmetic = str(precision.dtype).removeprefix("torch.")

    def least(place: tuple[int, int], drawn: int) -> float:
        """Seconds that a call takes at least, by the measured bandwidth and rate."""
        read = (elements * itemsize + bytes_a_place * place[0]) / machine["bandwidth"]
        multiplied = rows * multiplications(config, elements, [place], [drawn])
        return max(read, 2 * multiplied / machine["rates"][arithmetic]) / 1e9

    work = [least(*call) for call in zip(places, sizes, strict=True)]
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
        # Keys and values that a call finds in the cache, which has room for those of all places.
        "cache_read": bytes_a_place * sum(found for found, _ in places) / len(sizes),
        "cache": cache,
        # The intermediates of one block in the widest call, the logits and what guidance and sampling hold of them.
        "activations": rows * max(fed for _, fed in places) * config.width * 12 * precision.dtype.itemsize
        + 3 * rows * max(sizes) * config.codebook_size * 4,
        "arithmetic": arithmetic,
        "multiplications": rows * multiplications(config, elements, places, sizes),
        **({"operators": by_operator(run)} if profile else {}),
    }


def projected(seconds: float, first: float, timed_calls: int, work: Sequence[float]) -> float:
    """Seconds of all calls, of which `timed_calls` took `seconds` and the first of them `first`.

    Each call takes at least its `work` in seconds; those that lack are taken to miss it by as much as those after the
    first did. Later calls draw more tokens and find a longer cache.
    """
    lacking = sum(work[timed_calls:])
    if timed_calls == 1:
        return seconds + seconds * lacking / work[0]
    return seconds + (seconds - first) * lacking / sum(work[1:timed_calls])


def by_operator(run) -> list[tuple[str, int, float]]:
    """(operator, how often it ran, milliseconds of its own) of one `run`, the longest first."""
    from torch.profiler import profile

    with profile() as profiled:
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
            yield "On the processor, in the calls that were timed; each operator without what it calls.\n"
            yield "| operator | times | ms | share |\n|---|---|---|---|"
            for name, count, milliseconds in result["operators"][:OPERATORS]:
                yield f"| {name} | {count} | {milliseconds:.0f} | {100 * milliseconds / total:.1f} % |"


def call_places(sizes: Sequence[int], known: int, parallel: bool) -> list[tuple[int, int]]:
    """By call, the places that lie in the cache before it and those it feeds, of calls that draw `sizes` tokens.

    A sequence begins with two places, whatever the family. In RandAR's, the `parallel` one, a cell takes two more, and
    a call asks at as many places as it draws tokens; RAR asks at the last token.
    """
    places, before, done = [], 0, known
    for size in sizes:
        after = 2 + (2 if parallel else 1) * done
        places.append((before, after - before + size - 1))
        before, done = after, done + size
    return places


def multiplications(config, elements: int, places: list[tuple[int, int]], sizes: Sequence[int]) -> int:
    """Of one row in a whole decode with `elements` weights in the layers and the head.

    The head, and in the last layer all that comes after keys and values, are for the places that are asked for.
    Attention multiplies twice, scores and values, for every place that a place sees.
    """
    head = config.width * config.codebook_size
    after_keys = (elements - head) // config.layers - 3 * config.width**2

    def seen(before: int, fed: int) -> int:
        """By `fed` places in all, each of which sees those before it and itself."""
        return fed * before + fed * (fed + 1) // 2

    count = 0
    for (before, fed), asked in zip(places, sizes, strict=True):
        count += (elements - head - after_keys) * fed + (after_keys + head) * asked
        pairs = (config.layers - 1) * seen(before, fed) + seen(before + fed - asked, asked)
        count += 2 * config.width * pairs
    return count


def floors(result: dict, machine: dict) -> tuple[float, float]:
    """Milliseconds a call that reading and that multiplying take at least; the latter of int8 as if in float32."""
    read = (result["read"] + result["cache_read"]) / machine["bandwidth"] / 1e6
    multiply = 2 * result["multiplications"] / result["whole_calls"] / machine["rates"][result["arithmetic"]] / 1e6
    return read, multiply


WORDS = (
    "Random weights; guidance on. Times are the median of the runs, which follow one to warm up; where that one takes "
    "longer than `--limit`, it is cut there and is the only run. Where not all calls were timed (so many of so many), "
    "the others are taken to exceed the greater of their floors by as much as those did. "
    "Floors are means over all calls. Peak memory: the high-water mark above the size before the run; computed is "
    "weights + cache + activations."
)
HEADER = (
    "| code | model | dtype | pixels | steps | known | batch | calls | runs | ms a call | floor: read | floor: multiply"
    " | s an image | images a second | peak MB | computed MB | time against ours |\n" + "|---" * 17 + "|"
)


def row(result: dict, machine: dict) -> str:
    ours = "code" not in result
    code = "ours" if ours else result["code"]
    cells = [code, *(f"{result[key]}" for key in ("size", "dtype", "pixels", "steps", "known", "batch"))]
    if "failed" in result:
        return "| " + " | ".join([*cells, result["failed"], *[""] * 9]) + " |"
    timed, whole = result["calls"], result["whole_calls"]
    cells.append(f"{whole}" if timed == whole else f"{timed} of {whole}")
    cells.append(f"{result['runs']}" if ours else "")  # others say only what came out
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


if __name__ == "__main__":
    main()
