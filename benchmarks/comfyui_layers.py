"""What ComfyUI's layers cost: one decode with torch's own layers, with ComfyUI's as they are, and with those that cast.

    /path/to/ComfyUI/venv/bin/python benchmarks/comfyui_layers.py /path/to/ComfyUI [--size L] [--dtype bfloat16]

In ComfyUI's own Python. The nodes build models of `disable_weight_init`, which asks a few questions a layer and then
does what torch does; ComfyUI makes such layers cast while a model is only partly loaded; `manual_cast` always casts.
Weights are random, in torch's ordinary layout. Settings take turns, so that a machine that slows down slows down all.
"""

import argparse
import sys
from pathlib import Path
from statistics import median


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comfyui", type=Path, help="the folder of a ComfyUI")
    parser.add_argument("--size", default="L", choices=("L", "XL", "built-in"))
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--calls", type=int, default=20, help="of 88 (default: 20)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cpu", action="store_true", help="on the processor, even where there is a card")
    arguments = parser.parse_args()
    if not 1 <= arguments.calls <= 88 or arguments.repeats < 1:
        parser.error("--calls must be 1 to 88, and --repeats 1 or more")
    sys.argv = ["main.py", *(["--cpu"] if arguments.cpu else [])]  # ComfyUI reads it when it is told to
    sys.path[:0] = [str(arguments.comfyui.resolve()), str(Path(__file__).resolve().parents[1])]
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.model_management
    import comfy.ops
    import torch
    from machine import processor_name

    device = comfy.model_management.get_torch_device()
    dtype = getattr(torch, arguments.dtype)
    layers = {
        "torch.nn": torch.nn,
        "disable_weight_init": comfy.ops.disable_weight_init,
        "manual_cast": comfy.ops.manual_cast,
    }
    with torch.inference_mode():
        models = {name: model(arguments.size, device, dtype, operations) for name, operations in layers.items()}
        times = {name: [] for name in models}
        for turn in range(1 + arguments.repeats):
            for name, each in models.items():
                seconds = draw(each, arguments.calls, device)
                if turn:  # the first warms up
                    times[name].append(1000 * seconds / arguments.calls)
    first = median(times["torch.nn"])
    print(
        f"{arguments.size}, {arguments.dtype} on {processor_name(device)}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads; {arguments.calls} calls of 88, {arguments.repeats} turns"
    )
    print("| layers | ms a call | against torch's |\n|---|---|---|")
    for name, found in times.items():
        print(f"| {name} | {median(found):.2f} ({min(found):.2f}–{max(found):.2f}) | {median(found) / first:.3f} |")


def model(size: str, device, dtype, operations):
    """A decoder of `size` with random weights, the same whatever its layers."""
    import torch

    from randar_core.checkpoints.releases import find_release
    from randar_core.models.randar import RandAR, RandARConfig
    from randar_core.training.builtin import DECODER

    config = DECODER if size == "built-in" else RandARConfig(**find_release(f"randar-{size.lower()}-llamagen").config)
    decoder = RandAR(config, device, dtype, operations).eval().requires_grad_(False)
    torch.manual_seed(0)
    for parameter in decoder.parameters():
        parameter.normal_(0, 0.02)
    return decoder


def draw(decoder, calls: int, device) -> float:
    """Seconds of the first `calls` of 88, one picture with guidance."""
    import torch
    from machine import clock

    from randar_core.decoding.canvas import Canvas
    from randar_core.decoding.guidance import Linear, class_guidance
    from randar_core.decoding.loop import Setting, decode
    from randar_core.decoding.plan import make_plan

    canvas = Canvas.empty(1, decoder.config.grid, decoder.config.grid, device)
    setting = Setting(torch.zeros(1, dtype=torch.long, device=device), class_guidance(Linear(1.0, 4.0)))
    plan = make_plan(canvas, 88, 0)
    began = clock(device)
    decode(decoder, canvas, plan, setting, lambda now: now.call < calls)
    return clock(device) - began


if __name__ == "__main__":
    main()
