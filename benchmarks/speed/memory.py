"""Peak memory of a decode next to what `decode_bytes` states: a table, one row for each model and setting.

    python benchmarks/speed memory [--layers 2]

The weights are random. Activations don't grow with the layers, and the cache grows exactly with them: with few layers
the table is quick, with all of them (the default) it is complete.
"""

import argparse
import gc
from collections.abc import Callable, Sequence

import torch
from random_models import random_model
from torch.autograd.profiler import profile  # that of `torch.profiler` imports the compiler

from randar_core.decoding.canvas import Canvas
from randar_core.decoding.conditions import PictureGroup
from randar_core.decoding.guidance import Guidance, Linear
from randar_core.decoding.options import DecodingOptions
from randar_core.decoding.sampling import Sampling
from randar_core.models.family import TokenModel
from randar_core.tasks.confidence import score_confidence
from randar_core.tasks.fill import fill
from randar_core.tasks.generate import generate
from randar_core.tasks.memory import decode_bytes, score_bytes

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
    ("lpd-l-256", torch.float32, 1, 20, 0, 1.0, False),
    ("lpd-l-512", torch.bfloat16, 1, 48, 700, 1.0, False),
    ("lpd-l-512", torch.bfloat16, 1, 48, 0, 1.0, True),
    ("arpg-l", torch.bfloat16, 1, 64, 0, 1.0, False),
    ("arpg-l", torch.float32, 4, 32, 0, 1.0, False),
    ("arpg-l", torch.bfloat16, 1, 64, 192, 1.0, False),
    ("arpg-l", torch.bfloat16, 1, 64, 0, 1.0, True),
)


def peak_bytes(run: Callable[[], object], device: torch.device) -> int:
    """Bytes that `run` allocates at most, beyond those that are allocated before."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(profile_memory=True) as profiled:
        run()
    events = [event for event in profiled.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


@torch.inference_mode()
def measure(
    model: TokenModel, batch: int, steps: int, known: int, top_p: float, scored: bool, device: torch.device
) -> tuple[int, int]:
    """Measured and stated bytes of one setting.

    model: a transformer on `device`.
    batch: pictures.
    steps: calls of a whole picture.
    known: known cells of each picture.
    top_p: of the sampling.
    scored: whether the confidence of a picture is measured, in place of a decode.
    device: where the model is.
    """
    options = DecodingOptions(Guidance(Linear(1.0, 4.0)), steps, 0, Sampling(top_p=top_p))
    classes = torch.zeros(batch, dtype=torch.long, device=device)
    canvas = Canvas.empty(batch, model.config.grid, model.config.grid, device)
    canvas.known.flatten(1)[:, :known] = True
    if scored:
        run = lambda: score_confidence(model, canvas, classes, options)  # noqa: E731
    elif known:
        run = lambda: fill(model, canvas, classes, options)  # noqa: E731
    else:
        run = lambda: generate(model, classes, options)  # noqa: E731
    if device.type == "cuda":
        run()  # allocations that happen once are not part of it
    rows = len(options.guidance.rule().rows)
    group = PictureGroup(batch, rows, conditions=rows)
    stated = (
        score_bytes(model, group, canvas.cells) if scored else decode_bytes(model, options, group, canvas.cells, known)
    )
    return peak_bytes(run, device), stated


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/speed memory",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--layers", type=int, help="the number of layers of each model (default: all)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", type=int, help="only the setting of that number")
    arguments = parser.parse_args(argv)
    device = torch.device(arguments.device)
    print("| model | dtype | batch | steps | known | top-p | scored | measured MB | stated MB | ratio |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, dtype, *setting in SETTINGS if arguments.only is None else [SETTINGS[arguments.only]]:
        changes = {"layers": arguments.layers} if arguments.layers else {}
        model = random_model(name, device, dtype, **changes)
        measured, stated = measure(model, *setting, device)
        words = [name, str(dtype).removeprefix("torch."), *map(str, setting)]
        words += [f"{measured / 1e6:.1f}", f"{stated / 1e6:.1f}", f"{stated / measured:.2f}"]
        print(f"| {' | '.join(words)} |", flush=True)
