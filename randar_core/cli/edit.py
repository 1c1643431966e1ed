"""`randar inpaint`, `outpaint`, `extrapolate`, `refine`, `confidence`: from a picture to another one."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checkpoints.model import Model
from ..decoding.canvas import Canvas
from ..decoding.conditions import PromptBatch
from ..decoding.loop import DecodeProgress
from ..decoding.options import DecodingOptions
from ..io.images import heat_map, read_mask, read_picture, save_png
from ..runtime.progress_lines import Progress
from ..tasks.confidence import score_confidence
from ..tasks.extrapolate import extrapolate
from ..tasks.inpaint import inpaint
from ..tasks.outpaint import outpaint
from ..tasks.refine import refine
from . import arguments as options
from .cost import say_extrapolating, say_inpainting, say_outpainting, say_refining
from .from_arguments import decoding_of, device_of_model, extrapolation_of, large_decoding_of, load_model, scoring_of
from .outputs import picture_to_write
from .requests import condition_metadata, condition_of, prompt_of

MASK_HELP = "a picture of the same size, white where to repaint; grey is the opacity of the new pixels, see --threshold"
SHARE = 0.25  # of the cells that refining draws again


@dataclass(frozen=True)
class Edit:
    """What an edit works on. `pixels` are `[1, C, H, W]`; `show_step` and `show_score` report the progress."""

    arguments: argparse.Namespace
    model: Model
    pixels: Tensor
    prompts: PromptBatch
    decoding: DecodingOptions
    show_step: Callable[[DecodeProgress], None]
    show_score: Callable[[int, int], None]


def add_inpaint(parser: argparse.ArgumentParser) -> None:
    add_edit(parser, "inpaint", run_inpaint, alpha=True)
    parser.add_argument("mask", type=Path, help=MASK_HELP)
    parser.add_argument(
        "class_name", metavar="class", help=f"what to paint, its own class or another: {options.CONDITION_HELP}"
    )
    options.add_mask_reading(parser)
    parser.add_argument("--denoise", type=float, default=1.0, help="share of the masked cells that is drawn again")
    parser.add_argument("--grow", type=int, default=8, help="pixels by which the mask grows (default: 8)")
    parser.add_argument(
        "--seam",
        type=int,
        default=8,
        help="pixels over which the new part fades in, inside the grown mask (default: 8)",
    )
    parser.add_argument(
        "--context",
        type=float,
        default=2.0,
        help="width that the model sees, in widths of the masked region (default: 2)",
    )


def add_outpaint(parser: argparse.ArgumentParser) -> None:
    add_edit(parser, "outpaint", run_outpaint, alpha=True)
    parser.add_argument("class_name", metavar="class", help=f"what the whole picture shows: {options.CONDITION_HELP}")
    for side in ("left", "top", "right", "bottom"):
        parser.add_argument(f"--{side}", type=int, default=0, help="pixels to add (default: 0)")
    parser.add_argument(
        "--overlap",
        type=int,
        help="cells by which a window overlaps the cells drawn before (default: three quarters of it)",
    )
    parser.add_argument("--seam", type=int, default=64, help="pixels over which errors at the edge fade (default: 64)")


def add_extrapolate(parser: argparse.ArgumentParser) -> None:
    add_drawing = partial(options.add_drawing, guidance=options.LARGE_GUIDANCE_HELP)
    add_edit(parser, "extrapolate", run_extrapolate, add_drawing, large_decoding_of)
    parser.add_argument("class_name", metavar="class", help=f"what the picture shows: {options.CONDITION_HELP}")
    options.add_extrapolation(parser, factor=2)


def add_refine(parser: argparse.ArgumentParser) -> None:
    add_edit(parser, "refine", run_refine, alpha=True)
    parser.add_argument("class_name", metavar="class", help=f"what the picture shows: {options.CONDITION_HELP}")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--share", type=float, help=f"of the cells to draw again (default: {SHARE})")
    which.add_argument("--below", type=float, help="draw the cells below this probability again")
    parser.add_argument("--rounds", type=int, default=1, help="default: 1")


def add_confidence(parser: argparse.ArgumentParser) -> None:
    add_edit(parser, "confidence", run_confidence, options.add_scoring, scoring_of)
    parser.add_argument("class_name", metavar="class", help=f"what the picture shows: {options.CONDITION_HELP}")


def add_edit(
    parser: argparse.ArgumentParser,
    name: str,
    task: Callable[[Edit], Tensor],
    add_decoding: Callable = options.add_drawing,
    decode: Callable = decoding_of,
    alpha: bool = False,
) -> None:
    """The arguments of every command from a picture to another one.

    name: of the command, and the ending of its output's name.
    task: from an `Edit` to pixels `[1, C, H, W]`.
    add_decoding, decode: the options on drawing or scoring, and the function that understands them.
    alpha: whether the picture keeps its transparency.
    """
    parser.add_argument("picture", type=Path)
    parser.add_argument("--out", type=Path, help=f"the .png to write (default: the picture's name with _{name})")
    options.add_force(parser)
    options.add_conditions(parser)
    options.add_model(parser)
    add_decoding(parser)
    parser.set_defaults(run=lambda arguments: run(arguments, name, task, decode, alpha))


def run(arguments: argparse.Namespace, name: str, task: Callable, decode: Callable, alpha: bool) -> None:
    """Read the picture, run `task` on it, write the result."""
    picture = read_picture(arguments.picture, alpha=alpha)
    default = arguments.picture.with_name(f"{arguments.picture.stem}_{name}.png")
    out = picture_to_write(arguments.out or default, arguments.force)
    model = load_model(arguments)
    decoding, device = decode(arguments, model), device_of_model(model)
    condition = condition_of(arguments.class_name, model)
    prompts = PromptBatch((prompt_of(condition, arguments, model),), device)
    with torch.inference_mode(), Progress(unit="calls") as progress:
        edit = Edit(
            arguments,
            model,
            picture.pixels.to(device),
            prompts,
            decoding,
            lambda step: progress.show(step.call, step.calls, "calls"),
            lambda scored, windows: progress.show(scored, windows, "windows scored"),
        )
        left, top = (getattr(arguments, side, 0) for side in ("left", "top"))
        result = picture.in_profile(task(edit)[0], left, top)
    plain = len(condition.classes) == 1
    metadata = {"task": name, "model": model.name, "class": condition.classes[0] if plain else arguments.class_name}
    metadata |= {"seed": arguments.seed, **condition_metadata(arguments)}
    if "steps" in arguments:
        metadata["steps"] = decoding.steps
    save_png(out, result, metadata, picture.profile)
    print(f"{out} ({result.shape[2]}×{result.shape[1]})")


def run_inpaint(edit: Edit) -> Tensor:
    arguments, pixels = edit.arguments, edit.pixels
    mask = read_mask(arguments.mask, arguments.mask_from, on_doubt=print)
    if not (mask > arguments.threshold).any():
        print(f"'{arguments.mask}' marks nothing above {arguments.threshold:g}, so the picture stays as it is.")
        mask = mask.new_zeros(1, *pixels.shape[2:])  # whatever its size
    settings = {name: getattr(arguments, name) for name in ("denoise", "grow", "seam", "context", "threshold")}
    say_inpainting(arguments, edit.model, edit.decoding, pixels, mask)
    return inpaint(
        edit.model.transformer,
        edit.model.tokenizer,
        pixels,
        mask,
        edit.prompts,
        edit.decoding,
        on_step=edit.show_step,
        on_score=edit.show_score,
        **settings,
    ).pixels


def run_outpaint(edit: Edit) -> Tensor:
    names = ("left", "top", "right", "bottom", "overlap", "seam")
    settings = {name: getattr(edit.arguments, name) for name in names}
    say_outpainting(edit.arguments, edit.model, edit.decoding, edit.pixels)
    return outpaint(
        edit.model.transformer,
        edit.model.tokenizer,
        edit.pixels,
        edit.prompts,
        edit.decoding,
        on_step=edit.show_step,
        **settings,
    ).pixels


def run_extrapolate(edit: Edit) -> Tensor:
    ids = edit.model.tokenizer.encode(check_own_size(edit.pixels, edit.model))
    settings = extrapolation_of(edit.arguments, edit.model)
    say_extrapolating(edit.model, edit.decoding, **settings)
    drawn = extrapolate(
        edit.model.transformer, edit.prompts, edit.decoding, ids=ids, on_step=edit.show_step, **settings
    )
    return edit.model.tokenizer.decode(drawn.ids)


def run_refine(edit: Edit) -> Tensor:
    arguments, pixels = edit.arguments, edit.pixels
    say_refining(arguments, edit.model, edit.decoding, pixels)
    drawn = refine(
        edit.model.transformer,
        encode(pixels[:, :3], edit.model),
        edit.prompts,
        edit.decoding,
        share=SHARE if arguments.share is None and arguments.below is None else arguments.share,
        below=arguments.below,
        rounds=arguments.rounds,
        on_step=edit.show_step,
        on_score=edit.show_score,
    )
    if drawn.calls == 0:  # no cell was drawn, and the tokenizer alone would only blur the picture
        return pixels
    refined = edit.model.tokenizer.decode(drawn.ids)[..., : pixels.shape[2], : pixels.shape[3]]
    return torch.cat([refined.to(pixels), pixels[:, 3:]], 1)


def run_confidence(edit: Edit) -> Tensor:
    ids, cell = encode(edit.pixels, edit.model), edit.model.tokenizer.factor
    canvas = Canvas(ids, torch.zeros_like(ids, dtype=torch.bool))
    confidence = score_confidence(edit.model.transformer, canvas, edit.prompts, edit.decoding, on_score=edit.show_score)
    print(f"Mean probability of a token: {confidence.mean():.3f}; lowest: {confidence.min():.3f}.")
    picture = heat_map(confidence, ids.shape[1] * cell, ids.shape[2] * cell)
    return picture[..., : edit.pixels.shape[2], : edit.pixels.shape[3]]


def encode(pixels: Tensor, model: Model) -> Tensor:
    """The ids of a picture of any size; where it ends within a cell, its edge fills the rest of it."""
    (height, width), cell = pixels.shape[2:], model.tokenizer.factor
    return model.tokenizer.encode(F.pad(pixels, (0, -width % cell, 0, -height % cell), mode="replicate"))


def check_own_size(pixels: Tensor, model: Model) -> Tensor:
    """`pixels`. ValueError unless they have the model's own size."""
    side = model.transformer.config.grid * model.tokenizer.factor
    if tuple(pixels.shape[2:]) != (side, side):
        raise ValueError(
            f"The picture has {pixels.shape[3]}×{pixels.shape[2]} pixels; the model's own size is {side}×{side}. "
            "Scale or crop it to that."
        )
    return pixels
