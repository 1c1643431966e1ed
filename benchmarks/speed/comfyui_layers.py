"""What ComfyUI's layers cost: one decode with torch's own layers, with ComfyUI's as they are, and with those that cast.

    /path/to/ComfyUI/venv/bin/python benchmarks/speed comfyui_layers /path/to/ComfyUI [--size L] [--dtype bfloat16]

Run it with ComfyUI's own Python. The nodes build models of `disable_weight_init`, which asks a few questions a layer
and then does what torch does; ComfyUI makes such layers cast while a model is only partly loaded; `manual_cast` always
casts. Weights are random, in torch's ordinary layout. Settings take turns, so that a machine that slows down slows down
all.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch
from random_models import random_model, randomized
from speed.machine import clock, processor_name

from randar_core.decoding.guidance import Guidance, Linear
from randar_core.decoding.options import DecodingOptions
from randar_core.models.family import TokenModel
from randar_core.models.randar import RandAR
from randar_core.tasks.generate import generate
from randar_core.training.builtin import TRANSFORMER

RELEASES = {"L": "randar-l-llamagen", "XL": "randar-xl-llamagen"}


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/speed comfyui_layers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("comfyui", type=Path, help="the folder of a ComfyUI")
    parser.add_argument("--size", default="L", choices=(*RELEASES, "built-in"))
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--calls", type=int, default=20, help="of 88 (default: 20)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cpu", action="store_true", help="on the CPU, even if there is a GPU")
    arguments = parser.parse_args(argv)
    if not 1 <= arguments.calls <= 88 or arguments.repeats < 1:
        parser.error("--calls must be 1 to 88, and --repeats 1 or more")
    sys.argv = ["main.py", *(["--cpu"] if arguments.cpu else [])]  # ComfyUI reads it when it is imported
    sys.path.insert(0, str(arguments.comfyui.resolve()))
    import comfy.options  # from the folder that the command names

    comfy.options.enable_args_parsing()
    import comfy.model_management
    import comfy.ops

    device = comfy.model_management.get_torch_device()
    dtype = getattr(torch, arguments.dtype)
    layers = {
        "torch.nn": torch.nn,
        "disable_weight_init": comfy.ops.disable_weight_init,
        "manual_cast": comfy.ops.manual_cast,
    }
    with torch.inference_mode():
        models = {name: model_of(arguments.size, device, dtype, operations) for name, operations in layers.items()}
        times = {name: [] for name in models}
        for turn in range(1 + arguments.repeats):
            for name, model in models.items():
                seconds = draw(model, arguments.calls, device)
                if turn:  # the first warms up
                    times[name].append(1000 * seconds / arguments.calls)
    first = median(times["torch.nn"])
    print(
        f"{arguments.size}, {arguments.dtype} on {processor_name(device)}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads; {arguments.calls} calls of 88, {arguments.repeats} turns"
    )
    print("| layers | ms a call | relative to torch's |\n|---|---|---|")
    for name, found in times.items():
        print(f"| {name} | {median(found):.2f} ({min(found):.2f}–{max(found):.2f}) | {median(found) / first:.3f} |")


def model_of(size: str, device: torch.device, dtype: torch.dtype, operations) -> TokenModel:
    """A transformer of `size` with random weights, the same for all layers."""
    if size == "built-in":
        return randomized(RandAR(TRANSFORMER, device, dtype, operations))
    return random_model(RELEASES[size], device, dtype, operations)


def draw(model: TokenModel, calls: int, device: torch.device) -> float:
    """Seconds of the first `calls` of 88, one picture with guidance."""
    options = DecodingOptions(Guidance(Linear(1.0, 4.0)), 88, 0)
    classes = torch.zeros(1, dtype=torch.long, device=device)
    began = clock(device)
    generate(model, classes, options, on_step=lambda progress: progress.call < calls)
    return clock(device) - began
