"""`randar generate`: pictures of classes, of the model's own size or any other, one or tens of thousands."""

import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from ..checkpoints.model import Model
from ..decoding.conditions import PromptBatch
from ..decoding.options import DecodingOptions
from ..io.sample_set import SampleSet, remaining_batches
from ..runtime.distributed import broadcast_from_rank_0, distributed, is_rank_0, rank_and_world_size, wait_for_all
from ..runtime.progress_lines import Progress
from ..tasks.extrapolate import extrapolate
from ..tasks.generate import generate
from . import arguments as options
from .cost import say_generation
from .from_arguments import decoding_of, device_of, extrapolation_of, large_decoding_of, load_model
from .metadata import metadata_of
from .outputs import Files, Npz, Sheet, folder_to_write, locked
from .requests import Request, requests_of

EXAMPLES = """
A blend of classes, regions, and a sweep from one class to another:

  randar generate "0.7*house + 0.3*castle"
  randar generate mountains --region left.png city --width 512
  randar generate --sweep sea desert --count 16

50,000 pictures for an FID evaluator, 50 of each class of ImageNet, by eight GPUs (torch's launcher starts the
processes, on one machine or several that share the folder); the same command with --resume continues where it was cut:

  torchrun --nproc-per-node 8 -m randar_core generate --count 50000 --batch 64 --model randar-l-llamagen --npz set.npz

Every picture depends on its index, its class and the seed, not on the number of processes.
"""

ONE_CLASS = "A set has one class for each picture; leave out blends, --sweep and --region, or --npz."


def add_generate(parser: argparse.ArgumentParser) -> None:
    parser.epilog, parser.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "classes",
        nargs="*",
        help="class ids, names or blends (several, comma-separated, or 'all'); none: all classes take turns until "
        "--count",
    )
    parser.add_argument(
        "--count",
        type=int,
        default=1,
        help="pictures of each class, or of all where none is named, or steps of a sweep (default: 1)",
    )
    parser.add_argument("--batch", type=int, default=8, help="pictures drawn together, a process (default: 8)")
    parser.add_argument(
        "--first", type=options.at_least(0), default=0, help="index of the first picture: any one can be drawn again"
    )
    parser.add_argument("--sheet", action="store_true", help="one contact sheet in place of single files")
    parser.add_argument(
        "--npz",
        type=Path,
        metavar="FILE",
        help="one file for evaluators in place of single files: arr_0 are the pictures, uint8 [N, H, W, 3], and arr_1 "
        "their classes, which take turns. It is for ADM's evaluator; torch-fidelity, clean-fid and pytorch-fid read "
        "folders of single files",
    )
    parser.add_argument(
        "--truncate",
        action="store_true",
        help="cut pixels to 8 bits in place of rounding, as the authors of the models with MaskGIT tokenizers did for "
        "their scores",
    )
    parser.add_argument(
        "--resume", action="store_true", help="keep the same pictures that exist already and draw the others"
    )
    options.add_force(parser, "replace pictures, sheets and sets that exist already")
    parser.add_argument(
        "--width",
        type=int,
        help="pixels, any number; a window slides over a picture larger than the model's (default: the model's)",
    )
    parser.add_argument("--height", type=int, help="pixels, any number (default: the model's)")
    parser.add_argument(
        "--overlap", type=int, help="cells by which a window overlaps the one before (default: three quarters of it)"
    )
    parser.add_argument("--out", type=Path, help="folder to write single files or a sheet to (default: out)")
    options.add_conditions(parser)
    parser.add_argument(
        "--sweep",
        nargs=2,
        metavar=("FROM", "TO"),
        help="--count pictures that morph from one class or blend to another, with the same random numbers",
    )
    options.add_extrapolation(parser, factor=None)
    options.add_model(parser)
    options.add_drawing(parser, f"{options.GUIDANCE_HELP}; with --factor {options.LARGE_GUIDANCE_HELP}")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    check(arguments)
    folder = folder_to_write(arguments.npz.parent if arguments.npz else arguments.out or Path("out"))
    with distributed(device_of(arguments.device)) as device:
        rank, processes = rank_and_world_size()
        if arguments.sheet and processes > 1:
            raise ValueError(f"--sheet is drawn by one process; torchrun started {processes}. Leave it out.")
        model = load_model(arguments, device)
        decoding = (decoding_of if arguments.factor is None else large_decoding_of)(arguments, model)
        decoding = replace(decoding, batch_size=max(decoding.batch_size, arguments.batch))
        task = task_of(arguments, model)
        requests = requests_of(arguments, model)
        if arguments.npz and not all(request.plain for request in requests):
            raise ValueError(ONE_CLASS)
        output = output_of(arguments, model, decoding, folder)
        lock = nullcontext()
        if arguments.npz:
            lock = locked(arguments.npz.with_name(f"{arguments.npz.name}.lock"), f"the set '{arguments.npz}'")
        with lock:
            finished = broadcast_from_rank_0(lambda: output.begin(requests, arguments.resume))
            by_index = {request.index: request for request in requests}
            batches = remaining_batches(list(by_index), finished, arguments.batch, whole=arguments.dtype == "int8")
            if batches and is_rank_0():
                say_generation(arguments, model, decoding, sum(map(len, batches)), prompts_of(requests[:1], device))
            began = time.perf_counter()
            own = [[by_index[index] for index in batch] for batch in batches[rank::processes]]
            draw(own, task, decoding, output, device, f"process 1 of {processes}" if processes > 1 else "")
            wait_for_all()
            if not is_rank_0():
                return
            seconds = time.perf_counter() - began
            output.finish(requests)
    drawn = sum(map(len, batches))
    existed = f"{len(requests) - drawn} existed, " if drawn < len(requests) else ""
    rate = f"{drawn / seconds:.2f} a second" if drawn else "none was drawn"
    print(f"{len(requests):,} picture{'s' if len(requests) > 1 else ''} in {arguments.npz or folder} ({existed}{rate})")


def check(arguments: argparse.Namespace) -> None:
    """ValueError for options that don't go together."""
    for name in ("count", "batch"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"--{name} is {getattr(arguments, name)}; it must be at least 1.")
    for name in ("width", "height"):
        if (pixels := getattr(arguments, name)) is not None and pixels < 1:
            raise ValueError(f"--{name} is {pixels} pixels; it must be at least 1.")
    if arguments.sheet and (arguments.npz or arguments.resume):
        raise ValueError("--sheet goes with neither --npz nor --resume: a sheet is drawn at once and is a file itself.")
    if arguments.factor is not None and (arguments.width, arguments.height, arguments.overlap) != (None, None, None):
        raise ValueError("--factor says how large the picture is; leave out --width, --height and --overlap.")
    for name in ("spatial_guidance", "drop_ratio", "boundary"):
        if arguments.factor is None and getattr(arguments, name) is not None:
            raise ValueError(f"--{name.replace('_', '-')} is for pictures of several times the size: add --factor.")
    if arguments.sweep and arguments.classes:
        raise ValueError("--sweep names its two classes itself; leave out the others.")
    if arguments.npz:
        if arguments.out is not None:
            raise ValueError("--npz names the file of the set, with its folder; leave out --out.")
        if arguments.npz.suffix != ".npz":
            raise ValueError(f"The name of a set ends in .npz; got '{arguments.npz}'.")
        if arguments.sweep or arguments.region:
            raise ValueError(ONE_CLASS)


def output_of(arguments: argparse.Namespace, model: Model, decoding: DecodingOptions, folder: Path):
    common = metadata_of(arguments, model, decoding)
    if arguments.npz:
        asked = {"classes": arguments.classes, "count": arguments.count, "first": arguments.first}
        return Npz(SampleSet(arguments.npz, {**common, **asked}), arguments.force)
    if arguments.sheet:
        # One row for each class where every class has several pictures.
        columns = arguments.count if arguments.classes and 1 < arguments.count <= 16 else 8
        return Sheet(folder / "sheet.png", columns, arguments.force)

    def metadata(request: Request) -> dict:
        named = {"class": request.class_id} if request.plain else {}
        return {**common, **named, "class_name": request.title, "picture": request.index}

    return Files(folder, metadata, arguments.force)


def task_of(arguments: argparse.Namespace, model: Model) -> Callable:
    """What draws a batch: from prompts, decoding options and `on_step` to pixels `[B, 3, H, W]`."""
    if arguments.factor is not None:
        shape = extrapolation_of(arguments, model)

        def draw_ids(prompts, decoding, on_step):
            return extrapolate(model.transformer, prompts, decoding, on_step=on_step, **shape).ids

    else:
        height, width = cells(arguments.height, model), cells(arguments.width, model)

        def draw_ids(prompts, decoding, on_step):
            return generate(model.transformer, prompts, decoding, height, width, arguments.overlap, on_step=on_step).ids

    def task(prompts, decoding, on_step):
        pixels = model.tokenizer.decode(draw_ids(prompts, decoding, on_step))
        # The last cells may reach beyond the size that is asked for.
        pixels = pixels[..., : arguments.height, : arguments.width]
        return truncated(pixels) if arguments.truncate else pixels

    return task


def truncated(pixels: torch.Tensor) -> torch.Tensor:
    """Pixels in 0…1 at the 8-bit level below them, which rounding then leaves as they are."""
    return (pixels.float().clamp(0, 1) * 255).floor() / 255


def prompts_of(requests: Sequence[Request], device: torch.device) -> PromptBatch:
    return PromptBatch(tuple(request.prompt for request in requests), device)


def draw(
    batches: Sequence[Sequence[Request]],
    task: Callable,
    decoding: DecodingOptions,
    output,
    device: torch.device,
    title: str,
) -> None:
    """Draw pictures; the first process shows the progress of its own share.

    batches: requests that are drawn together.
    task: see `task_of`.
    decoding: how to decode; the batch index is that of the requests.
    output: where the pictures go.
    device: of the prompts.
    title: of the progress.
    """
    total = sum(map(len, batches))
    with torch.inference_mode(), Progress(title, total, "pictures", shown=is_rank_0()) as progress:
        for batch in batches:
            pixels = task(
                prompts_of(batch, device),
                replace(decoding, batch_index=[request.batch_index for request in batch]),
                lambda step: progress.say(f"call {step.call} of {step.calls}"),
            )
            output.add(batch, pixels)
            progress.advance(len(batch))


def cells(pixels: int | None, model: Model) -> int | None:
    """How many cells hold this many pixels; None, the model's own size, stays None."""
    return None if pixels is None else -(-pixels // model.tokenizer.factor)
