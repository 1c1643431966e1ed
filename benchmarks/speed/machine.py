"""What a benchmark reports about the machine, and how it measures time and memory there."""

import argparse
import ctypes
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from randar_core.cli.from_arguments import device_of


def run_case(command: str, **case) -> dict:
    """What `python benchmarks/speed COMMAND` prints of the case, as JSON.

    It runs in a process of its own, so that peaks of memory don't mix.
    """
    script = [sys.executable, str(Path(__file__).parent), command, "--case", json.dumps(case)]
    done = subprocess.run(script, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        return {**case, "failed": f"exit status {done.returncode}"}
    return json.loads(done.stdout.splitlines()[-1])


def fastest(device: str) -> str:
    """The name of a device; "auto" is an accelerator if there is one."""
    return str(device_of(device))


def measure_machine_in_process(device: str, threads: int | None) -> dict:
    return run_case("machine", device=device, threads=threads)


def measure_machine(device: torch.device) -> dict:
    """Bandwidth (GB/s, reading) and rate of matrix products (GFLOP/s by dtype), each the best of several.

    On an accelerator the products are larger, and there are many in a row: launching and waiting take as long as a
    small one.
    """
    on_cpu = device.type == "cpu"
    in_a_row, numbers_bytes, sides = (1, 256 * 2**20, (256, 2048)) if on_cpu else (20, 2**30, (256, 8192))

    def best(run, repeats=5):
        times = []
        for _ in range(repeats):
            began = clock(device)
            for _ in range(in_a_row):
                run()
            times.append((clock(device) - began) / in_a_row)
        return min(times)

    numbers = torch.ones(numbers_bytes, dtype=torch.uint8, device=device).view(torch.int64)
    bandwidth = numbers.nbytes / best(numbers.sum) / 1e9
    rates = {}
    for dtype in ("bfloat16", "float16", "float32"):
        for side in sides:
            square = torch.randn(side, side, device=device, dtype=torch.float32).to(getattr(torch, dtype))
            rates[dtype] = 2 * side**3 / best(lambda square=square: square @ square) / 1e9
            if rates[dtype] < 5:  # a CPU without the dtype would take minutes for a large product
                break
    return {
        "name": processor_name(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "bandwidth": bandwidth,
        "rates": rates,
    }


def processor_name(device: torch.device) -> str:
    if device.type != "cpu":
        return torch.get_device_module(device).get_device_name(device)
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def clock(device: torch.device) -> float:
    """Seconds, after everything that the device was asked to do is done."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()


def timed(run: Callable[[], object], device: torch.device, repeats: int, limit: float) -> dict:
    """Median `seconds` of several `runs` and their `spread`, after one to warm up.

    There are fewer if they would take longer than `limit` seconds; if the first alone does, it is the only one.
    """
    times: list[float] = []
    while len(times) < 1 + repeats and (len(times) < 2 or sum(times) + times[-1] < limit):
        if times and times[0] > limit:
            break
        began = clock(device)
        run()
        times.append(clock(device) - began)
    times = times[1:] or times
    return {"seconds": median(times), "spread": max(times) - min(times), "runs": len(times)}


def forget_peak(device: torch.device) -> None:
    """Measure the peak from here: making weights, casting and packing them is not part of it."""
    if device.type != "cpu":
        of_accelerator("reset_peak_memory_stats", device)
    elif sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")


def held(device: torch.device) -> int:
    """Bytes of memory that the process holds now; on an accelerator, those of its tensors."""
    return status("VmRSS") if device.type == "cpu" else of_accelerator("memory_allocated", device)


def peak(device: torch.device) -> int:
    """High-water mark of `held` since the last `forget_peak`, in bytes."""
    return status("VmHWM") if device.type == "cpu" else of_accelerator("max_memory_allocated", device)


def of_accelerator(name: str, device: torch.device) -> int:
    """The result of torch's memory function `name`; 0 where torch doesn't have it, as on MPS."""
    return getattr(torch.get_device_module(device), name, lambda _: 0)(device)


def status(name: str) -> int:
    """A figure of /proc in bytes; 0 on other systems than Linux."""
    information = Path("/proc/self/status")
    if not information.exists():
        return 0
    return next(int(line.split()[1]) * 1024 for line in information.read_text().splitlines() if line.startswith(name))


def free(device: torch.device) -> float:
    """Bytes that are free for a benchmark; infinite where the system doesn't say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    information = Path("/proc/meminfo")
    if device.type != "cpu" or not information.exists():
        return float("inf")
    lines = information.read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def in_words(machine: dict) -> str:
    rates = ", ".join(f"{dtype} {rate:.0f} GFLOP/s" for dtype, rate in machine["rates"].items())
    return (
        f"{machine['name']}, {machine['threads']} threads, torch {machine['torch']}; reads {machine['bandwidth']:.1f} "
        f"GB/s, multiplies {rates}."
    )


def write(path: Path, title: str, words: str, header: str, rows: list[str], machine: dict, results: list[dict]) -> None:
    """The table as Markdown in `path`, the raw numbers next to it as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"# {title}", "", f"{in_words(machine)} {words}", "", header, *rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    path.with_suffix(".json").write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python benchmarks/speed machine", description="The machine, as JSON.")
    parser.add_argument("--case", default='{"device": "cpu", "threads": null}', help=argparse.SUPPRESS)
    case = json.loads(parser.parse_args(argv).case)
    if case["threads"]:
        torch.set_num_threads(case["threads"])
    with torch.inference_mode():
        print(json.dumps(measure_machine(torch.device(case["device"]))))
