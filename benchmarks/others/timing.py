"""What the commands here share: the case that `benchmarks/speed decode --other` hands over, and how long it took."""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable

import torch

ARITHMETIC = {"float16": "float32", "int8": "float32"}  # on the CPU these are dtypes of our weights


def parser(words: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=words, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", help="a checkout of its repository, whose requirements are installed")
    parser.add_argument("--dtype", help="default: that of the case")
    return parser


def read_case(sizes: tuple[str, ...], dtype: str | None) -> tuple[dict, torch.device, torch.dtype]:
    """The case, its device and what to compute in. Ends the command where it isn't of `sizes` or no whole picture."""
    case = json.loads(os.environ["BENCH_CASE"])
    if case["size"] not in sizes or case["pixels"] != 256 or case["known"]:
        sys.exit(f"Only whole pictures of 256 pixels by {' and '.join(sizes)} are timed here.")
    if case.get("threads"):
        torch.set_num_threads(case["threads"])
    dtype = dtype or ARITHMETIC.get(case["dtype"], case["dtype"])
    return case, torch.device(case["device"]), getattr(torch, dtype)


@torch.inference_mode()
def report(case: dict, decode: Callable[[], object], calls: int) -> None:
    """Print what `decode` takes: the median of several times, after one to warm up, or of that where time is short."""
    times: list[float] = []
    while len(times) <= case["repeats"] and (not times or sum(times) + times[-1] < 2 * case["limit"]):
        began = time.perf_counter()
        decode()
        if case["device"] != "cpu":
            torch.accelerator.synchronize()
        times.append(time.perf_counter() - began)
    print(json.dumps({"seconds": statistics.median(times[1:] or times), "calls": calls}))
