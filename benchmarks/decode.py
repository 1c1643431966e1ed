"""How fast and how large decoding is, with random weights of the released sizes, beside what the machine allows.

    python benchmarks/decode.py                         # sizes L and XL, batches 1, 4, 16, 88 steps, bf16 and float32
    python benchmarks/decode.py --sizes L RAR-B --batches 1 --steps 256 88 32 --pixels 256 512 --known 0 0.75

Every case runs in a process of its own. Writes a table (`--out`, Markdown) and the raw numbers beside it (JSON).
Floors: a call must read the weights of its layers and half of the cache, its mean filling (bytes over the measured
bandwidth), and do its multiplications (operations over the measured rate of a large matrix product).
"""

import argparse
import ctypes
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

SIZES = {
    "L": "randar-l-llamagen",
    "XL": "randar-xl-llamagen",
    "XXL": "randar-xxl-llamagen",
    "RAR-B": "rar-b",
    "RAR-L": "rar-l",
    "RAR-XL": "rar-xl",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["L", "XL"], choices=SIZES)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--steps", nargs="+", type=int, default=[88])
    parser.add_argument("--pixels", nargs="+", type=int, default=[256], choices=[256, 512])
    parser.add_argument("--known", nargs="+", type=float, default=[0.0], help="share of the cells that is known")
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="threads of the CPU (default: torch's)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--calls", type=int, help="stop after so many calls; the time an image is then projected")
    parser.add_argument("--plain", action="store_true", help="leave the weights in torch's ordinary layout")
    parser.add_argument("--out", type=Path, default=Path("out/decode.md"))
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(measure(**json.loads(arguments.case))))
        return
    common = {key: getattr(arguments, key) for key in ("device", "threads", "repeats", "calls", "plain")}
    machine = run_case(machine_only=True, **common)
    print(f"{machine['name']}: {machine['threads']} threads, {machine['bandwidth']:.1f} GB/s")
    results = []
    for size in arguments.sizes:
        for dtype in arguments.dtypes:
            for pixels in arguments.pixels:
                for steps in arguments.steps:
                    for known in arguments.known:
                        for batch in arguments.batches:
                            case = {"size": size, "dtype": dtype, "pixels": pixels, "steps": steps, "known": known}
                            results.append(run_case(batch=batch, **case, **common))
                            print(row(results[-1], machine))
                            write(arguments.out, machine, results)


def run_case(**case) -> dict:
    """The case in a process of its own, so that peaks of memory don't mix."""
    command = [sys.executable, __file__, "--case", json.dumps(case)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        return {**case, "failed": f"exit status {done.returncode}"}
    return json.loads(done.stdout.splitlines()[-1])


def measure(machine_only: bool = False, threads: int | None = None, **case) -> dict:
    import torch

    if threads:
        torch.set_num_threads(threads)
    with torch.inference_mode():
        return measure_machine(torch.device(case["device"])) if machine_only else measure_decode(**case)


def measure_machine(device) -> dict:
    """Bandwidth (GB/s, reading) and rate of matrix products (GFLOP/s by dtype), each the best of several."""
    import torch

    def best(run, repeats=5):
        times = []
        for _ in range(repeats):
            began = clock(device)
            run()
            times.append(clock(device) - began)
        return min(times)

    numbers = torch.ones(256 * 2**20, dtype=torch.uint8, device=device).view(torch.int64)
    bandwidth = numbers.nbytes / best(numbers.sum) / 1e9
    rates = {}
    for dtype in ("bfloat16", "float32"):
        square = torch.randn(2048, 2048, device=device).to(getattr(torch, dtype))
        rates[dtype] = 2 * 2048**3 / best(lambda square=square: square @ square) / 1e9
    return {
        "name": processor_name(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "bandwidth": bandwidth,
        "rates": rates,
    }


def processor_name(device) -> str:
    import torch

    if device.type != "cpu":
        return torch.get_device_module(device).get_device_name(device)
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def clock(device) -> float:
    """Seconds, once everything asked of the device is done."""
    import torch

    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()


def measure_decode(size, dtype, pixels, steps, known, batch, device, repeats, calls, plain) -> dict:
    import torch

    from randar_core.checkpoints.bundle import Model
    from randar_core.checkpoints.recognise import FAMILIES
    from randar_core.checkpoints.releases import find_release
    from randar_core.decoding.canvas import Canvas
    from randar_core.decoding.guidance import Linear, spatial_guidance
    from randar_core.decoding.loop import Setting, decode
    from randar_core.decoding.orders import ORDERS
    from randar_core.decoding.plan import make_plan
    from randar_core.models.packing import pack

    torch_dtype, device = getattr(torch, dtype), torch.device(device)
    before = resident()
    release = find_release(SIZES[size])
    family = next(family for family in FAMILIES if family.name == release.family)
    config = family.config(**release.config)
    model = family.network(config, device, torch_dtype).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.normal_(0, 0.02)
    weights = sum(parameter.nbytes for parameter in model.parameters())
    read = sum(
        module.weight.nbytes
        for name, module in model.named_modules()
        # Adaptive norms are computed once for many calls.
        if isinstance(module, torch.nn.Linear) and "adaLN" not in name
    )
    if not plain:
        pack(model)
    forget_peak()
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
    sizes = plan.sizes[0][:calls]
    prefill = max(sizes[0], 2 * known_cells + 1 + sizes[0])

    def run():
        began = clock(device)
        decode(model, canvas, plan, setting, (lambda now: now.call < calls) if calls else None)
        return clock(device) - began

    run()
    times = [run() for _ in range(repeats)]
    rows = len(setting.guidance.rows) * batch
    cache = model.cache_bytes(rows, cells, torch_dtype.itemsize)
    return {
        **{"size": size, "dtype": dtype, "pixels": pixels, "steps": steps, "known": known, "batch": batch},
        "calls": len(sizes),
        "whole_calls": len(plan.sizes[0]),
        "rows": rows,
        "drawn": sum(sizes),
        "seconds": median(times),
        "spread": max(times) - min(times),
        "peak_bytes": peak(device) - before if device.type == "cpu" else peak(device),
        "packed": not plain,
        "weights": weights,
        "read": read,
        "cache": cache,
        # The intermediates of one block in the widest call, the logits and what guidance and sampling hold of them.
        "activations": rows * max(prefill, 3 * max(sizes)) * config.width * 12 * torch_dtype.itemsize
        + 3 * rows * max(sizes) * config.codebook_size * 4,
        "multiplications": (read // torch_dtype.itemsize)
        * rows
        * (prefill + sum(2 * a - 1 + b for a, b in zip(sizes, sizes[1:], strict=False))),
    }


def forget_peak() -> None:
    """Count the peak from here: making random weights and packing them is no part of decoding."""
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")


def resident() -> int:
    return status("VmRSS")


def peak(device) -> int:
    """High-water mark of the process's memory, or of the accelerator's, in bytes."""
    import torch

    return status("VmHWM") if device.type == "cpu" else torch.accelerator.max_memory_allocated(device)


def status(name: str) -> int:
    information = Path("/proc/self/status")
    if not information.exists():
        return 0  # only Linux tells
    return next(int(line.split()[1]) * 1024 for line in information.read_text().splitlines() if line.startswith(name))


def floors(result: dict, machine: dict) -> tuple[float, float]:
    """Milliseconds a call that reading and that multiplying take at least."""
    read = (result["read"] + result["cache"] / 2) / machine["bandwidth"] / 1e6
    multiply = 2 * result["multiplications"] / result["calls"] / machine["rates"][result["dtype"]] / 1e6
    return read, multiply


HEADER = (
    "| model | dtype | pixels | steps | known | batch | calls | ms a call | floor: read | floor: multiply "
    "| s an image | images a second | peak MB | computed MB |\n" + "|---" * 14 + "|"
)


def row(result: dict, machine: dict) -> str:
    head = [f"{result[key]}" for key in ("size", "dtype", "pixels", "steps", "known", "batch")]
    if "failed" in result:
        return "| " + " | ".join([*head, result["failed"], *[""] * 7]) + " |"
    a_call = result["seconds"] / result["calls"]
    whole = a_call * result["whole_calls"]
    read, multiply = floors(result, machine)
    computed = result["weights"] + result["cache"] + result["activations"]
    numbers = [
        str(result["whole_calls"]),
        f"{1000 * a_call:.1f}",
        f"{read:.1f}",
        f"{multiply:.1f}",
        f"{whole / result['batch']:.2f}",
        f"{result['batch'] / whole:.3f}",
        f"{result['peak_bytes'] / 1e6:.0f}",
        f"{computed / 1e6:.0f}",
    ]
    return "| " + " | ".join([*head, *numbers]) + " |"


def write(path: Path, machine: dict, results: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rates = ", ".join(f"{dtype} {rate:.0f} GFLOP/s" for dtype, rate in machine["rates"].items())
    lines = [
        "# Decoding speed",
        "",
        f"{machine['name']}, {machine['threads']} threads, torch {machine['torch']}; reads {machine['bandwidth']:.1f} "
        f"GB/s, multiplies {rates}. Random weights; median of the runs; guidance on. Peak memory: the high-water mark "
        "above the size before the run; computed is weights + cache + activations.",
        "",
        HEADER,
        *(row(result, machine) for result in results),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    path.with_suffix(".json").write_text(json.dumps({"machine": machine, "results": results}, indent=1))


if __name__ == "__main__":
    main()
