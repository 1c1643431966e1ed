"""`randar demo`: a tour of the model's abilities, as pictures in a folder."""

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checkpoints.model import Model
from ..decoding.guidance import Guidance, Linear
from ..decoding.loop import DecodeProgress
from ..decoding.options import DecodingOptions
from ..io.images import contact_sheet, heat_map, save_png
from ..runtime.progress_lines import Progress
from ..tasks.extrapolate import extrapolate
from ..tasks.generate import generate
from ..tasks.inpaint import inpaint
from ..tasks.outpaint import outpaint
from ..tasks.refine import refine
from . import arguments as options
from .from_arguments import decoding_of, device_of_model, load_model
from .outputs import check_free, folder_to_write

SHEETS = ("classes", "filling_in", "inpaint", "class_edit", "outpaint", "panorama", "refine", "extrapolate")
LIGHT_GREY = 0.9  # of cells that aren't drawn yet


def add_demo(parser: argparse.ArgumentParser) -> None:
    options.add_output(parser)
    options.add_force(parser, "replace the pictures of an earlier tour")
    options.add_model(parser)
    options.add_drawing(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    folder = folder_to_write(arguments.out)
    for name in SHEETS:
        check_free(folder / f"{name}.png", arguments.force)
    model = load_model(arguments)
    decoding = decoding_of(arguments, model)
    with torch.inference_mode():
        for name, pictures, columns in tour(model, decoding, device_of_model(model)):
            save_png(folder / f"{name}.png", contact_sheet(pictures.float().cpu(), columns))
            print(folder / f"{name}.png", flush=True)


def tour(model: Model, decoding: DecodingOptions, device: torch.device) -> Iterator[tuple[str, Tensor, int]]:
    """Name, pictures `[B, 3, H, W]` and columns of every sheet, drawn one after the other."""
    transformer, tokenizer = model.transformer, model.tokenizer
    shown = min(12, len(model.class_names))
    classes = torch.arange(shown, device=device)

    with Bar("all classes") as show:
        drawn = generate(transformer, classes.repeat(4), decoding, on_step=show)
    yield "classes", tokenizer.decode(drawn.ids), shown
    pictures, ids = tokenizer.decode(drawn.ids[:shown]).float().clamp(0, 1), drawn.ids[:shown]
    side = pictures.shape[-1]

    # Of a thing and of a wide view, where the model is the built-in one: a castle, and below mountains.
    yield "filling_in", *filling_in(model, decoding, classes[-1:], side)

    right_half = torch.zeros(1, side, side, dtype=torch.float32, device=device)
    right_half[:, :, side // 2 :] = 1
    with Bar("inpaint: the right half again") as show:
        repainted = inpaint(transformer, tokenizer, pictures, right_half, classes, decoding, on_step=show).pixels
    masked = pictures * (1 - right_half) + LIGHT_GREY * right_half
    yield "inpaint", torch.cat([pictures, masked, repainted]), shown

    inner = torch.zeros_like(right_half)
    inner[:, side // 16 : -side // 16, side // 16 : -side // 16] = 1
    others = classes.roll(-1)
    with Bar("class edit: all but the rim as the next class") as show:
        edited = inpaint(transformer, tokenizer, pictures, inner, others, decoding, on_step=show).pixels
    yield "class_edit", torch.cat([pictures, edited]), shown

    margins = {"left": side // 2, "right": side // 2}
    with Bar("outpaint: wider by half on either side") as show:
        wide = outpaint(transformer, tokenizer, pictures[:4], classes[:4], decoding, on_step=show, **margins).pixels
    yield "outpaint", wide, 2

    grid = transformer.config.grid
    with Bar("panorama") as show:
        panorama = generate(transformer, classes[:2][-1:], decoding, height=grid, width=4 * grid, on_step=show)
    yield "panorama", tokenizer.decode(panorama.ids), 1

    confidence = drawn.confidence[:shown]
    with Bar("refine: the least confident fifth again") as show:
        refined = refine(transformer, ids, classes, decoding, share=0.2, confidence=confidence, on_step=show)
    yield "refine", torch.cat([pictures, heat_map(confidence, side, side), tokenizer.decode(refined.ids)]), shown

    try:
        transformer.enlarged(2, model.defaults.boundary)
    except ValueError as error:
        print(f"extrapolate is left out. {error}")
        return
    # Without spatial guidance, which leaves specks in pictures of the built-in model.
    guidance = Guidance(Linear(options.LARGE_GUIDANCE, options.LARGE_GUIDANCE))
    with Bar("extrapolate: twice the size") as show:
        large = extrapolate(
            transformer,
            classes[:4],
            replace(decoding, guidance=guidance),
            2,
            ids=ids[:4],
            boundary=model.defaults.boundary,
            on_step=show,
        )
    yield "extrapolate", tokenizer.decode(large.ids), 2


def filling_in(model: Model, decoding: DecodingOptions, classes: Tensor, side: int) -> tuple[Tensor, int]:
    """Every step of a picture, as pictures in as many columns as rows."""
    stages: list[tuple[Tensor, Tensor]] = []
    with Bar("filling in") as show:

        def keep(step: DecodeProgress) -> None:
            stages.append((step.ids.clone(), step.known.clone()))
            show(step)

        generate(model.transformer, classes, decoding, on_step=keep)
    known = F.interpolate(torch.cat([known for _, known in stages])[:, None].float(), size=(side, side))
    steps = torch.cat([model.tokenizer.decode(ids) for ids, _ in stages])  # hundreds together take gigabytes
    return steps * known + LIGHT_GREY * (1 - known), math.ceil(len(stages) ** 0.5)


class Bar:
    """The progress of one task, as an `on_step`."""

    def __init__(self, title: str):
        self.progress = Progress(title, unit="calls")

    def __enter__(self) -> Callable[[DecodeProgress], None]:
        return lambda step: self.progress.show(step.call, step.calls)

    def __exit__(self, *error) -> None:
        self.progress.close()
