"""How fast the tokenizers encode and decode, and what fewer bits do to the picture.

    python benchmarks/speed tokenizer                    # both released sizes and the built-in one, batches 1 and 16
    python benchmarks/speed tokenizer --tokenizers builtin --batches 1 --dtypes float32 bfloat16

A tokenizer is `llamagen` or `maskgit` (the released size, random weights), or what `randar info` takes: a file, the
name of a downloaded release, `builtin`. On the CPU, float16 and a bfloat16 without instructions for it are left out
unless you ask for them: they would take minutes a picture. Every case runs in a process of its own. Writes a table
(`--out`, Markdown) and the raw numbers next to it (JSON). The floor is the operations over the measured rate of a large
matrix product.
"""

import argparse
import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from speed.machine import fastest, forget_peak, held, measure_machine_in_process, peak, run_case, timed, write
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from randar_core.checkpoints.locate import locate
from randar_core.checkpoints.model import load_tokenizer
from randar_core.io.images import to_float
from randar_core.models import tiling
from randar_core.models.llamagen import LlamaGenConfig, LlamaGenTokenizer
from randar_core.models.maskgit import MaskGITConfig, MaskGITTokenizer
from randar_core.models.tokenizer import Tokenizer
from randar_core.procedural.landscape.pictures import Landscapes
from randar_core.runtime.capabilities import has_bfloat16_kernels

LAYOUTS = ("contiguous", "channels_last")


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/speed tokenizer",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tokenizers", nargs="+", default=["llamagen", "maskgit", "builtin"])
    parser.add_argument("--dtypes", nargs="+")
    parser.add_argument("--layouts", nargs="+", default=LAYOUTS, choices=LAYOUTS)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--pixels", type=int, default=256, help="side of the pictures (default: 256)")
    parser.add_argument("--device", default="auto", help="cpu, cuda, … (default: the fastest available)")
    parser.add_argument("--threads", type=int, help="threads of the CPU (default: torch's)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=float, default=30, help="seconds of a measurement; fewer repeats if it is long")
    parser.add_argument("--whole", action="store_true", help="a batch at once, not in slices as the library does")
    parser.add_argument("--out", type=Path, default=Path("out/tokenizer.md"))
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.case:
        print(json.dumps(measure(**json.loads(arguments.case))))
        return
    arguments.device = fastest(arguments.device)
    on_cpu = arguments.device == "cpu"
    quick = ["float32", *(["bfloat16"] if not on_cpu or has_bfloat16_kernels() else [])]
    dtypes = arguments.dtypes or [*quick, *([] if on_cpu else ["float16"])]
    machine = measure_machine_in_process(arguments.device, arguments.threads)
    results = []
    common = {key: getattr(arguments, key) for key in ("pixels", "device", "threads", "repeats", "limit", "whole")}
    for name, batch, dtype, layout in itertools.product(
        arguments.tokenizers, arguments.batches, dtypes, arguments.layouts
    ):
        results.append(run_case("tokenizer", tokenizer=name, batch=batch, dtype=dtype, layout=layout, **common))
        print(row(results[-1], machine), flush=True)
        rows = [row(result, machine) for result in results]
        write(arguments.out, "Speed of the tokenizers", WORDS, HEADER, rows, machine, results)


def load(name: str) -> Tokenizer:
    """The tokenizer in float32: a released size with random weights, or a file."""
    torch.manual_seed(0)
    if name == "llamagen":
        return LlamaGenTokenizer(LlamaGenConfig())
    if name == "maskgit":
        return MaskGITTokenizer(MaskGITConfig())
    return load_tokenizer(locate(name), torch.device("cpu"), torch.float32)


def measure(tokenizer, batch, dtype, layout, pixels, device, threads, repeats, limit, whole) -> dict:
    """Seconds, operations, peak and error of one case, whose fields are those of the command line."""
    if threads:
        torch.set_num_threads(threads)
    if whole:
        tiling.PIXELS_AT_ONCE = tiling.PIXELS_AT_ONCE_ON_CPU = 2**62
    case = {"tokenizer": tokenizer, "batch": batch, "dtype": dtype, "layout": layout, "pixels": pixels}
    device = torch.device(device)
    model = load(tokenizer).eval().requires_grad_(False).to(device)
    drawn = [torch.from_numpy(Landscapes(0, 1000, pixels)[i][0].copy()) for i in range(min(batch, 4))]
    pictures = to_float(torch.stack(drawn)).to(device)
    pictures = pictures.repeat(math.ceil(batch / len(pictures)), 1, 1, 1)[:batch]
    with torch.inference_mode():
        # One picture with the same weights in float32.
        with FlopCounterMode(display=False) as encoding:
            ids = model.encode(pictures[:1])
        with FlopCounterMode(display=False) as decoding:
            expected = model.decode(ids)
        model.to(getattr(torch, dtype))
        if layout == "channels_last":
            model.to(memory_format=torch.channels_last)
        found = model.decode(ids).float()
        own_ids = model.encode(pictures[:1])
        round_trip = psnr(model.decode(own_ids).float().clamp(0, 1), pictures[:1])
        many = ids.expand(batch, -1, -1)
        forget_peak(device)
        before = held(device)
        encoded = timed(lambda: model.encode(pictures), device, repeats, limit)
        encoded |= {"operations": encoding.get_total_flops(), "peak_bytes": peak(device) - before}
        forget_peak(device)
        decoded = timed(lambda: model.decode(many), device, repeats, limit)
        decoded |= {"operations": decoding.get_total_flops(), "peak_bytes": peak(device) - before}
    return {
        **case,
        "encode": encoded,
        "decode": decoded,
        "psnr": psnr(found, expected),
        "same_ids": (own_ids == ids).float().mean().item(),
        "round_trip": round_trip,
    }


def psnr(found: Tensor, expected: Tensor) -> float | None:
    """Peak signal-to-noise ratio in dB, over the range of the expected pixels; None if they are equal."""
    error = (found - expected).square().mean().item()
    span = (expected.max() - expected.min()).item()
    return 10 * math.log10(span**2 / error) if error else None


WORDS = (
    "Milliseconds a picture, median of the runs; random weights for llamagen and maskgit, trained ones for others. "
    "PSNR: the picture decoded in this dtype against float32's, over its range; same ids: tokens encoded as in "
    "float32; round trip: PSNR of a picture that is encoded and decoded in this dtype against itself, for trained "
    "weights. Peak: memory above the weights."
)
HEADER = (
    "| tokenizer | batch | dtype | layout | encode ms | floor | decode ms | floor | PSNR dB | same ids % "
    "| round trip dB | peak encode MB | peak decode MB |\n" + "|---" * 13 + "|"
)


def row(result: dict, machine: dict) -> str:
    head = [f"{result[key]}" for key in ("tokenizer", "batch", "dtype", "layout")]
    if "failed" in result:
        return "| " + " | ".join([*head, result["failed"], *[""] * 8]) + " |"
    numbers = []
    for way in ("encode", "decode"):
        numbers.append(f"{1000 * result[way]['seconds'] / result['batch']:.0f}")
        numbers.append(f"{result[way]['operations'] / machine['rates'][result['dtype']] / 1e6:.0f}")
    numbers.append("equal" if result["psnr"] is None else f"{result['psnr']:.1f}")
    numbers.append(f"{100 * result['same_ids']:.0f}")
    numbers.append(f"{result['round_trip']:.2f}")
    numbers += [f"{result[way]['peak_bytes'] / 1e6:.0f}" for way in ("encode", "decode")]
    return "| " + " | ".join([*head, *numbers]) + " |"
