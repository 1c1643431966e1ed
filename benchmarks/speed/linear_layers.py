"""What the linear layers of a call take on the CPU, by the form of their weights: all blocks of a transformer.

    python benchmarks/speed linear_layers                       # RandAR-L, 2 to 48 rows
    python benchmarks/speed linear_layers --size XL --rows 2 6 12

A row here is one position of a call, of one picture, under one condition of guidance. Only the products are timed, so a
decode can't be faster. Each form is also timed with the two products that open the feed-forward layers, w1 and w3, as
one of twice the width. Writes a table (`--out`, Markdown) and the raw numbers next to it (JSON).
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch
from speed.machine import clock, measure_machine_in_process, run_case, write

from randar_core.checkpoints.releases import find_release
from randar_core.models.feed_forward import hidden_width
from randar_core.runtime.capabilities import can_pack, can_pack_in
from randar_core.runtime.packed_linear import pack

FORMS = ("float32, plain", "float32", "float16", "int8")
SIZES = {"L": "randar-l-llamagen", "XL": "randar-xl-llamagen", "XXL": "randar-xxl-llamagen"}


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/speed linear_layers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", default="L", choices=SIZES)
    parser.add_argument("--rows", nargs="+", type=int, default=[2, 4, 6, 12, 24, 48])
    parser.add_argument("--threads", type=int, help="threads of the CPU (default: torch's)")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("out/linear-layers.md"))
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.case:
        print(json.dumps(measure(**json.loads(arguments.case))))
        return
    machine = measure_machine_in_process("cpu", arguments.threads)
    results = []
    for form in FORMS:
        case = {"form": form, "size": arguments.size, "rows": arguments.rows}
        result = run_case("linear_layers", **case, threads=arguments.threads, repeats=arguments.repeats)
        results.append(result)
        rows = [row for each in results for row in rows_of(each)]
        print("\n".join(rows_of(result)), flush=True)
        write(arguments.out, f"Linear layers of {arguments.size}", WORDS, HEADER, rows, machine, results)


def measure(form: str, size: str, rows: list[int], threads: int | None, repeats: int) -> dict:
    """Seconds of all blocks' products by number of rows, `apart` and `fused`: the median of several turns of both."""
    if threads:
        torch.set_num_threads(threads)
    bits = form if form in ("float16", "int8") else None
    possible = can_pack_in(bits) if bits else form.endswith("plain") or can_pack(torch.empty(0))
    if not possible:
        return {"form": form, "failed": "no kernels here"}
    config = find_release(SIZES[size]).config
    width, hidden = config.width, hidden_width(config.width)

    def layer(shapes: list[tuple[int, int]]) -> torch.nn.ModuleList:
        made = torch.nn.ModuleList(torch.nn.Linear(*shape, bias=False) for shape in shapes)
        return made if form.endswith("plain") else pack(made, bits)

    attention, last = [(width, 3 * width), (width, width)], [(hidden, width)]
    ways = {"apart": [(width, hidden)] * 2, "fused": [(width, 2 * hidden)]}
    found = {way: {} for way in ways}
    with torch.inference_mode():
        # As many as the transformer has: fewer might stay in the cache of the CPU.
        blocks = {way: [layer([*attention, *w, *last]) for _ in range(config.layers)] for way, w in ways.items()}
        weights = config.layers * sum(a * b for a, b in [*attention, *ways["apart"], *last])
        for count in rows:
            inputs = {features: torch.randn(count, features) for features in (width, hidden)}
            times = {way: [] for way in ways}
            for turn in range(1 + repeats):
                for way in ways:  # in turns, so that a machine that slows down slows down both
                    taken = seconds_of(blocks[way], inputs)
                    if turn:  # the first warms up
                        times[way].append(taken)
            for way in ways:
                found[way][count] = median(times[way])
    return {"form": form, "size": size, "weights": weights, **found}


def seconds_of(blocks: list, inputs: dict) -> float:
    """What all layers of `blocks` take once; `inputs` [rows, features] are by the number of features."""
    began = clock(torch.device("cpu"))
    for block in blocks:
        for layer in block:
            layer(inputs[layer.in_features])
    return clock(torch.device("cpu")) - began


WORDS = (
    "The products of all blocks, without the head, in float32 arithmetic except int8; plain: in torch's ordinary "
    "layout, the others packed. GFLOP/s and GB/s: the rates of multiplying and of reading weights."
)
HEADER = "| weights | rows | ms | GFLOP/s | GB/s | w1 and w3 as one | of the time |\n" + "|---" * 7 + "|"
BYTES = {"float32, plain": 4, "float32": 4, "float16": 2, "int8": 1}


def rows_of(result: dict) -> list[str]:
    form = result["form"]
    if "failed" in result:
        return [f"| {form} | {result['failed']} | | | | | |"]
    lines = []
    for rows, seconds in result["apart"].items():
        operations, read = 2 * result["weights"] * int(rows), result["weights"] * BYTES[form]
        fused = result["fused"][rows]
        lines.append(
            f"| {form} | {rows} | {1000 * seconds:.1f} | {operations / seconds / 1e9:.0f} | {read / seconds / 1e9:.1f} "
            f"| {1000 * fused:.1f} | {fused / seconds:.2f} |"
        )
    return lines
