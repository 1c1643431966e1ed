"""Peak memory of a decode beside what `picture_bytes` says it takes: a table, one row a model and setting.

    python benchmarks/memory.py [--layers 2]

Random weights serve. Activations don't grow with the layers and the cache does so exactly: with few layers the table is
quick, with all of them (the default) it is the whole truth.
"""

import argparse
import gc
from collections.abc import Callable
from dataclasses import replace

import torch
from torch.profiler import ProfilerActivity, profile

from randar_core.checkpoints.families import family_of
from randar_core.checkpoints.releases import find_release
from randar_core.decoding.canvas import Canvas
from randar_core.decoding.guidance import Linear, class_guidance
from randar_core.decoding.options import DecodingOptions
from randar_core.decoding.sampling import Sampling
from randar_core.decoding.windows import fill
from randar_core.tasks.confidence import sureness
from randar_core.tasks.generate import generate
from randar_core.tasks.memory import picture_bytes

SETTINGS = (  # model, dtype, batch, steps, known cells, top-p, scored
    ("randar-l-llamagen", torch.bfloat16, 1, 88, 0, 1.0, False),
    ("randar-l-llamagen", torch.float32, 1, 32, 0, 1.0, False),
    ("randar-l-llamagen", torch.float32, 4, 8, 0, 1.0, False),
    ("randar-l-llamagen", torch.float32, 1, 8, 0, 0.9, False),
    ("randar-l-llamagen", torch.float32, 1, 32, 192, 1.0, False),
    ("randar-l-llamagen", torch.float32, 1, 88, 0, 1.0, True),
    ("randar-l-maskgit", torch.bfloat16, 1, 32, 192, 1.0, False),
    ("randar-l-maskgit", torch.bfloat16, 1, 88, 0, 1.0, True),
    ("randar-l-maskgit", torch.float32, 4, 16, 0, 1.0, False),
    ("randar-xl-llamagen", torch.bfloat16, 2, 16, 0, 1.0, False),
    ("rar-b", torch.bfloat16, 1, 88, 0, 1.0, True),
    ("rar-b", torch.float32, 1, 88, 192, 1.0, False),
)


def random_model(name: str, dtype: torch.dtype, layers: int | None = None):
    """A release's decoder with small random weights, of `layers` layers."""
    release = find_release(name)
    family = family_of(release.config)
    config = replace(release.config, layers=layers) if layers else release.config
    model = family.network(config, dtype=dtype)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0, 0.02)
    return model.eval().requires_grad_(False)


def peak_bytes(run: Callable[[], object], device: torch.device) -> int:
    """Bytes that `run` held at most, beyond what was there before."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


@torch.inference_mode()
def measure(model, batch: int, steps: int, known: int, top_p: float, scored: bool, device: torch.device):
    """Measured and stated bytes of one setting."""
    options = DecodingOptions(class_guidance(Linear(1.0, 4.0)), steps, 0, Sampling(top_p=top_p))
    classes = torch.zeros(batch, dtype=torch.long, device=device)
    canvas = Canvas.empty(batch, model.config.grid, model.config.grid, device)
    canvas.known.flatten(1)[:, :known] = True
    if scored:
        run = lambda: sureness(model, canvas, classes, options)  # noqa: E731
    elif known:
        run = lambda: fill(model, canvas, classes, options)  # noqa: E731
    else:
        run = lambda: generate(model, classes, options)  # noqa: E731
    run() if device.type == "cuda" else None  # what is allocated once stays out of it
    stated = batch * picture_bytes(model, options, len(options.guidance.rows), canvas.cells, known, scored)
    return peak_bytes(run, device), stated


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, help="take only so many layers of each model")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", type=int, help="only the setting of that number")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    print("| model | dtype | batch | steps | known | top-p | scored | measured MB | stated MB | ratio |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, dtype, *setting in SETTINGS if arguments.only is None else [SETTINGS[arguments.only]]:
        model = random_model(name, dtype, arguments.layers).to(device)
        measured, stated = measure(model, *setting, device)
        words = [name, str(dtype).removeprefix("torch."), *map(str, setting)]
        words += [f"{measured / 1e6:.1f}", f"{stated / 1e6:.1f}", f"{stated / measured:.2f}"]
        print(f"| {' | '.join(words)} |", flush=True)


if __name__ == "__main__":
    main()
