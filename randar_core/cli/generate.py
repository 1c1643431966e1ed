"""`randar generate`: pictures of classes, of the model's own size or any other, one or tens of thousands."""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from . import options

EXAMPLES = """
50,000 pictures for an FID evaluator, 50 of each class of ImageNet, by eight graphics cards (torch's launcher starts the
processes, on one machine or several that share the folder); the same command with --resume goes on where it was cut:

  torchrun --nproc-per-node 8 -m randar_core generate --count 50000 --batch 64 --model randar-l-llamagen --npz set.npz

Every picture depends on its index, its class and the seed, not on the number of processes.
"""


def register(subparsers) -> None:
    parser = subparsers.add_parser(
        "generate", help="draw pictures", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "classes",
        nargs="*",
        help="class ids or names (several, comma-separated, or 'all'); none: all of them take turns until --count",
    )
    parser.add_argument(
        "--count",
        type=int,
        default=1,
        help="pictures of each class, or of all where none is named (default: 1)",
    )
    parser.add_argument("--batch", type=int, default=8, help="pictures drawn together, a process (default: 8)")
    parser.add_argument("--first", type=int, default=0, help="index of the first picture: any one can be drawn again")
    parser.add_argument("--sheet", action="store_true", help="one contact sheet in place of single files")
    parser.add_argument(
        "--npz",
        type=Path,
        metavar="FILE",
        help="one file for evaluators in place of single files: arr_0 are the pictures, uint8 [N, H, W, 3], and arr_1 "
        "their classes, which take turns",
    )
    parser.add_argument(
        "--resume", action="store_true", help="keep what is there of the same pictures and draw the others"
    )
    parser.add_argument(
        "--width",
        type=int,
        help="pixels, any number; a window slides over a picture larger than the model's (default: the model's)",
    )
    parser.add_argument("--height", type=int, help="pixels, any number (default: the model's)")
    parser.add_argument(
        "--overlap", type=int, help="cells by which a window overlaps the one before (default: three quarters of it)"
    )
    options.add_extrapolation(parser, factor=None)
    parser.add_argument("--out", type=Path, help="folder to write single files or a sheet to (default: out)")
    options.add_model(parser)
    options.add_drawing(parser, f"{options.GUIDANCE_WORDS}; with --factor {options.LARGE_GUIDANCE_WORDS}")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    from ..io.images import writable_folder
    from ..io.sample_set import SampleSet, remaining_batches
    from ..runtime.distributed import broadcast_from_rank_0, distributed, is_rank_0, rank_and_world_size, wait_for_all
    from .outputs import Files, Sheet

    for name in ("count", "batch"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"--{name} is {getattr(arguments, name)}; it must be at least 1.")
    if arguments.sheet and (arguments.npz or arguments.resume):
        raise ValueError("--sheet goes with neither --npz nor --resume: a sheet is drawn at once and is a file itself.")
    if arguments.factor is not None and (arguments.width, arguments.height, arguments.overlap) != (None, None, None):
        raise ValueError("--factor says how large the picture is; leave out --width, --height and --overlap.")
    for name in ("spatial_guidance", "drop_ratio", "boundary"):
        if arguments.factor is None and getattr(arguments, name) is not None:
            raise ValueError(f"--{name.replace('_', '-')} is for pictures of several times the size: add --factor.")
    if arguments.npz and arguments.out is not None:
        raise ValueError("--npz names the file of the set, with its folder; leave out --out.")
    if arguments.npz and arguments.npz.suffix != ".npz":
        raise ValueError(f"The name of a set ends in .npz; got '{arguments.npz}'.")
    folder = writable_folder(arguments.npz.parent if arguments.npz else arguments.out or Path("out"))
    with distributed(options.device_of(arguments.device)) as device:
        process, of = rank_and_world_size()
        if arguments.sheet and of > 1:
            raise ValueError(f"--sheet is drawn by one process; torchrun started {of}. Leave it out.")
        model = options.load_model(arguments, device)
        decoding_of = options.decoding_of if arguments.factor is None else options.large_decoding_of
        decoding = decoding_of(arguments, model)
        decoding = replace(decoding, batch=max(decoding.batch, arguments.batch))
        task = task_of(arguments, model)
        in_turn = classes_in_turn(arguments, model)
        wanted = dict(enumerate(in_turn, arguments.first))
        facts = _facts(arguments, model, decoding)

        def facts_of(picture: int) -> dict:
            named = {"class": wanted[picture], "class_name": model.class_names[wanted[picture]]}
            return {**facts, **named, "picture": picture}

        def name_of(picture: int) -> str:
            return _file_name(picture, model.class_names[wanted[picture]])

        if arguments.npz:
            asked = {"classes": arguments.classes, "count": arguments.count, "first": arguments.first}
            output = SampleSet(arguments.npz, {**facts, **asked})
            finished = broadcast_from_rank_0(lambda: output.begin(arguments.resume))
        elif arguments.sheet:
            output, finished = Sheet(), set()
        else:
            output = Files(folder, name_of, facts_of)
            finished = broadcast_from_rank_0(lambda: output.finished(list(wanted)) if arguments.resume else set())
        began = time.perf_counter()
        batches = remaining_batches(list(wanted), finished, arguments.batch, whole=arguments.dtype == "int8")
        title = f"process 1 of {of}" if of > 1 else None
        _draw(model, decoding, task, wanted, batches[process::of], output, title)
        wait_for_all()
        if not is_rank_0():
            return
        seconds = time.perf_counter() - began
        if arguments.npz:
            output.assemble(wanted)
        if arguments.sheet:
            # One row a class where every class has several pictures.
            columns = arguments.count if arguments.classes and 1 < arguments.count <= 16 else 8
            output.save(folder / "sheet.png", columns, {"classes": in_turn})
    drawn = sum(map(len, batches))
    kept = f"{len(wanted) - drawn} were there, " if drawn < len(wanted) else ""
    rate = f"{drawn / seconds:.2f} a second" if drawn else "none was drawn"
    print(f"{len(wanted)} pictures in {arguments.npz or folder} ({kept}{rate})")


def classes_in_turn(arguments: argparse.Namespace, model) -> list[int]:
    """The class id of every picture that is asked for."""
    if not arguments.classes:
        return [picture % len(model.class_names) for picture in range(arguments.count)]
    classes = options.classes_of(arguments.classes, model)
    # Evaluators score a set in parts, and each part should hold all classes: there they take turns.
    return classes * arguments.count if arguments.npz else [c for c in classes for _ in range(arguments.count)]


def task_of(arguments: argparse.Namespace, model) -> Callable:
    """What draws a batch: from classes, decoding options and `on_call` to pixels `[B, 3, H, W]`."""
    from ..tasks.extrapolate import extrapolate
    from ..tasks.generate import generate

    if arguments.factor is not None:
        shape = options.extrapolation_of(arguments, model)

        def draw(classes, decoding, on_call):
            return extrapolate(model.transformer, classes, arguments.factor, decoding, on_call=on_call, **shape)

    else:
        size = cells(arguments.height, model, "height"), cells(arguments.width, model, "width"), arguments.overlap

        def draw(classes, decoding, on_call):
            return generate(model.transformer, classes, decoding, *size, on_call=on_call)

    # The last cells may reach beyond the size that is asked for.
    part = ..., slice(arguments.height), slice(arguments.width)
    return lambda *given: model.tokenizer.decode(draw(*given).ids)[part]


def _draw(
    model, decoding, task: Callable, wanted: dict[int, int], batches: list[list[int]], output, title: str | None
) -> None:
    """Draw `batches` of the `wanted` pictures into `output`; the first process shows how far it is with its own."""
    import torch
    from tqdm import tqdm

    from ..runtime.distributed import is_rank_0

    device = options.device_of_model(model)
    bar = tqdm(total=sum(map(len, batches)), unit=" pictures", desc=title, disable=not is_rank_0())
    with torch.inference_mode(), bar:
        for pictures in batches:
            pixels = task(
                torch.tensor([wanted[picture] for picture in pictures], device=device),
                replace(decoding, pictures=pictures),
                lambda now: bar.set_postfix_str(f"call {now.call} of {now.calls}"),
            )
            output.add(pictures, pixels)
            bar.update(len(pictures))


def cells(pixels: int | None, model, what: str) -> int | None:
    """How many cells hold so many pixels; None stays None, the model's own size."""
    if pixels is None:
        return None
    if pixels < 1:
        raise ValueError(f"--{what} is {pixels} pixels; it must be at least 1.")
    return -(-pixels // model.tokenizer.factor)


def _file_name(picture: int, class_name: str) -> str:
    word = "".join(letter if letter.isalnum() else "_" for letter in class_name)
    return f"{picture:05}_{word}.png"


def _facts(arguments: argparse.Namespace, model, decoding) -> dict:
    """What every picture carries beside its class and its index, enough to draw it again."""
    defaults, large = model.defaults, arguments.factor is not None
    # The line from a start to an end has no power.
    default_power = None if large or len(arguments.guidance or ()) == 2 else defaults.guidance_power
    return {
        "model": model.name,
        "weights": options.digest_of(model.files),
        "seed": arguments.seed,
        "width": arguments.width,
        "height": arguments.height,
        "overlap": arguments.overlap,
        # Of a family that draws one token a call the steps say nothing.
        "steps": decoding.steps if model.transformer.parallel else model.transformer.config.grid**2,
        "guidance": arguments.guidance or [options.LARGE_GUIDANCE if large else defaults.guidance],
        "guidance_power": default_power if arguments.guidance_power is None else arguments.guidance_power,
        "temperature": decoding.sampling.temperature,
        "top_k": arguments.top_k,
        "top_p": arguments.top_p,
        "order": arguments.order or defaults.order if arguments.painted_order is None else "painted",
        **_more_facts(arguments, model),
        "dtype": str(options.precision(arguments, options.device_of_model(model))),
    }


def _more_facts(arguments: argparse.Namespace, model) -> dict:
    """Facts of what most pictures are drawn without."""
    facts = {}
    if arguments.dtype == "int8":  # what is drawn together matters there
        facts["batch"] = arguments.batch
    if arguments.painted_order is not None:
        facts["painting"] = options.digest_of([arguments.painted_order])
    if arguments.factor is not None:
        shape = options.extrapolation_of(arguments, model)
        facts |= {name: shape[name] for name in ("boundary", "drop_ratio")}
        facts |= {"factor": arguments.factor, "spatial_guidance": options.spatial_weight(arguments)}
    return facts
