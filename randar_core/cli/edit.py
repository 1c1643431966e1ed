"""`randar inpaint`, `outpaint`, `extrapolate`, `refine`, `confidence`: from a picture to another one."""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

from . import options

KEEP_ALPHA = frozenset({"inpaint", "outpaint", "refine"})
MASK = "a picture of the same size, white where to repaint; what is darker than half of it stays"
SHARE = 0.25  # of the cells that refining forgets


def register(subparsers) -> None:
    inpaint = _command(subparsers, "inpaint", _inpaint, "repaint the part of a picture that a mask marks")
    inpaint.add_argument("mask", type=Path, help=MASK)
    inpaint.add_argument("class_name", metavar="class", help="what to paint: its own class, or another (class edit)")
    inpaint.add_argument("--denoise", type=float, default=1.0, help="share of the masked cells that is redrawn")
    inpaint.add_argument("--grow", type=int, default=8, help="pixels by which the mask grows (default: 8)")
    inpaint.add_argument("--seam", type=int, default=8, help="pixels over which the new part fades in (default: 8)")
    inpaint.add_argument("--context", type=float, default=2.0, help="width seen, in widths of the mask (default: 2)")

    outpaint = _command(subparsers, "outpaint", _outpaint, "extend a picture beyond its edges")
    outpaint.add_argument("class_name", metavar="class", help="what the whole picture shows")
    for side in ("left", "top", "right", "bottom"):
        outpaint.add_argument(f"--{side}", type=int, default=0, help="pixels to add (default: 0)")
    outpaint.add_argument(
        "--overlap", type=int, help="cells by which a window overlaps what was there (default: three quarters of it)"
    )
    outpaint.add_argument(
        "--seam", type=int, default=64, help="pixels over which errors at the edge fade (default: 64)"
    )

    extrapolate = _command(
        subparsers,
        "extrapolate",
        _extrapolate,
        "redraw a picture with a finer grid",
        partial(options.add_drawing, guidance=options.LARGE_GUIDANCE_WORDS),
        options.large_decoding_of,
    )
    extrapolate.add_argument("class_name", metavar="class", help="what the picture shows")
    options.add_extrapolation(extrapolate, factor=2)

    refine = _command(subparsers, "refine", _refine, "forget the tokens the model is least sure of and redraw them")
    refine.add_argument("class_name", metavar="class", help="what the picture shows")
    which = refine.add_mutually_exclusive_group()
    which.add_argument("--share", type=float, help=f"of the cells to forget (default: {SHARE})")
    which.add_argument("--below", type=float, help="forget the cells below this probability")
    refine.add_argument("--rounds", type=int, default=1, help="default: 1")

    sure = _command(
        subparsers,
        "confidence",
        _confidence,
        "show how sure the model is of each cell of a picture",
        options.add_judging,
        options.judging_of,
    )
    sure.add_argument("class_name", metavar="class", help="what the picture shows")


def _command(
    subparsers, name: str, run, help: str, add_decoding=options.add_drawing, decoding_of=options.decoding_of
) -> argparse.ArgumentParser:
    """A command from a picture to another one; `decoding_of` understands the options that `add_decoding` adds."""
    parser = subparsers.add_parser(name, help=help)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--out", type=Path, help=f"the .png to write (default: the picture's name with _{name})")
    options.add_model(parser)
    add_decoding(parser)
    parser.set_defaults(run=lambda arguments: _run(arguments, name, run, decoding_of))
    return parser


def _run(arguments: argparse.Namespace, name: str, task, decoding_of) -> None:
    """Read the picture, run `task` on it with a progress bar, write what comes out."""
    import torch
    from tqdm import tqdm

    from ..classes import resolve_class
    from ..io.images import read_pixels, save_png, writable_picture

    pixels = read_pixels(arguments.picture, alpha=name in KEEP_ALPHA)
    out = writable_picture(arguments.out or arguments.picture.with_name(f"{arguments.picture.stem}_{name}.png"))
    model = options.load_model(arguments)
    decoding = decoding_of(arguments, model)
    device = options.device_of_model(model)
    classes = torch.tensor([resolve_class(arguments.class_name, model.class_names)], device=device)
    with torch.inference_mode(), tqdm(unit=" calls") as bar:

        def show(done, of):
            if done < bar.n:  # scoring, drawing and the next round's scoring each begin anew
                bar.reset()
            bar.total = of
            bar.update(done - bar.n)

        def on_call(now):
            bar.unit = " calls"
            show(now.call, now.calls)

        def on_scored(done, of):
            bar.unit = " windows"
            show(done, of)

        decoding = replace(decoding, on_scored=on_scored)
        result = task(arguments, model, pixels.to(device), classes, decoding, on_call)[0]
    facts = {"task": name, "model": model.name, "class": int(classes), "seed": arguments.seed}
    if "steps" in arguments:
        facts["steps"] = decoding.steps
    save_png(out, result, facts)
    print(f"{out} ({result.shape[2]}×{result.shape[1]})")


def _inpaint(arguments, model, pixels, classes, decoding, on_call):
    from ..io.images import read_mask
    from ..tasks.inpaint import inpaint

    mask = read_mask(arguments.mask)
    if not mask.any():
        print(f"'{arguments.mask}' marks nothing in white, so the picture stays as it is.")
        mask = mask.new_zeros(1, *pixels.shape[2:])  # whatever its size
    settings = {name: getattr(arguments, name) for name in ("denoise", "grow", "seam", "context")}
    networks = model.transformer, model.tokenizer
    return inpaint(*networks, pixels, mask, classes, decoding, on_call=on_call, **settings).pixels


def _outpaint(arguments, model, pixels, classes, decoding, on_call):
    from ..tasks.outpaint import outpaint

    settings = {name: getattr(arguments, name) for name in ("left", "top", "right", "bottom", "overlap", "seam")}
    return outpaint(model.transformer, model.tokenizer, pixels, classes, decoding, on_call=on_call, **settings).pixels


def _extrapolate(arguments, model, pixels, classes, decoding, on_call):
    from ..tasks.extrapolate import extrapolate

    ids = model.tokenizer.encode(_own_size(pixels, model))
    drawn = extrapolate(
        model.transformer,
        classes,
        arguments.factor,
        decoding,
        ids=ids,
        on_call=on_call,
        **options.extrapolation_of(arguments, model),
    )
    return model.tokenizer.decode(drawn.ids)


def _refine(arguments, model, pixels, classes, decoding, on_call):
    import torch

    from ..tasks.refine import refine

    share = SHARE if arguments.share is None and arguments.below is None else arguments.share
    ids, alpha = _encode(pixels[:, :3], model), pixels[:, 3:]
    drawn = refine(model.transformer, ids, classes, decoding, share, arguments.below, arguments.rounds, on_call=on_call)
    if drawn.calls == 0:  # nothing was forgotten, and the tokenizer alone would only blur the picture
        return pixels
    refined = model.tokenizer.decode(drawn.ids)[..., : pixels.shape[2], : pixels.shape[3]]
    return torch.cat([refined.to(alpha), alpha], 1)


def _confidence(arguments, model, pixels, classes, decoding, on_call):
    from ..decoding.canvas import Canvas
    from ..tasks.confidence import heat_map, sureness

    ids, cell = _encode(pixels, model), model.tokenizer.factor
    sure = sureness(model.transformer, Canvas(ids, ids < 0), classes, decoding)
    print(f"Mean probability of a token: {sure.mean():.3f}; of the least sure one: {sure.min():.3f}.")
    return heat_map(sure, ids.shape[1] * cell, ids.shape[2] * cell)[..., : pixels.shape[2], : pixels.shape[3]]


def _encode(pixels, model):
    """The ids of a picture of any size; where it ends within a cell, its edge fills the rest of it."""
    import torch.nn.functional as F

    (height, width), cell = pixels.shape[2:], model.tokenizer.factor
    return model.tokenizer.encode(F.pad(pixels, (0, -width % cell, 0, -height % cell), mode="replicate"))


def _own_size(pixels, model):
    """`pixels`, which must have the model's own size."""
    side = model.transformer.config.grid * model.tokenizer.factor
    if tuple(pixels.shape[2:]) != (side, side):
        raise ValueError(
            f"The picture has {pixels.shape[3]}×{pixels.shape[2]} pixels; the model's own size is {side}×{side}. "
            "Scale or crop it to that."
        )
    return pixels
