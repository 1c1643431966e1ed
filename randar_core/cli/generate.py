"""`randar generate`: pictures of classes, of the model's own size or any other."""

import argparse
import time
from dataclasses import replace

from . import options


def register(subparsers) -> None:
    parser = subparsers.add_parser("generate", help="draw pictures")
    parser.add_argument("classes", nargs="+", help="class ids or names (several, comma-separated, or 'all')")
    parser.add_argument("--count", type=int, default=1, help="pictures of each class (default: 1)")
    parser.add_argument("--batch", type=int, default=8, help="pictures drawn together (default: 8)")
    parser.add_argument("--first", type=int, default=0, help="index of the first picture: any one can be drawn again")
    parser.add_argument("--sheet", action="store_true", help="one contact sheet in place of single files")
    parser.add_argument(
        "--width", type=int, help="pixels; a window slides over a larger picture (default: the model's)"
    )
    parser.add_argument("--height", type=int, help="pixels (default: the model's)")
    parser.add_argument("--overlap", type=int, help="cells that a window knows of the one before (default: half)")
    options.add_output(parser)
    options.add_model(parser)
    options.add_drawing(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    import torch
    from tqdm import tqdm

    from ..images import contact_sheet, save_png, writable_folder
    from ..tasks.generate import generate

    for name in ("count", "batch"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"--{name} is {getattr(arguments, name)}; it must be at least 1.")
    folder = writable_folder(arguments.out)
    model = options.load_model(arguments)
    decoding, device = options.decoding_of(arguments, model), options.device_of_model(model)
    height, width = cells(arguments.height, model, "height"), cells(arguments.width, model, "width")
    wanted = [c for c in options.classes_of(arguments.classes, model) for _ in range(arguments.count)]
    sheet, began = [], time.perf_counter()
    with torch.inference_mode(), tqdm(total=len(wanted), unit=" pictures") as bar:
        for start in range(0, len(wanted), arguments.batch):
            classes = wanted[start : start + arguments.batch]
            pictures = range(arguments.first + start, arguments.first + start + len(classes))

            def show(now):
                bar.set_postfix_str(f"call {now.call} of {now.calls}")

            drawn = generate(
                model.decoder,
                torch.tensor(classes, device=device),
                replace(decoding, pictures=pictures),
                height,
                width,
                arguments.overlap,
                on_call=show,
            )
            pixels = model.tokenizer.decode(drawn.ids)
            sheet += pixels.float().cpu() if arguments.sheet else []
            for picture, class_id, image in zip(pictures, classes, pixels, strict=True):
                if not arguments.sheet:
                    facts = _facts(arguments, model, picture, class_id, decoding)
                    save_png(folder / _file_name(picture, model.class_names[class_id]), image, facts)
            bar.update(len(classes))
    rate = len(wanted) / (time.perf_counter() - began)
    if arguments.sheet:
        # One row a class where every class has several pictures.
        columns = arguments.count if 1 < arguments.count <= 16 else 8
        save_png(folder / "sheet.png", contact_sheet(torch.stack(sheet), columns), {"classes": wanted})
    print(f"{len(wanted)} pictures in {folder} ({rate:.2f} a second)")


def cells(pixels: int | None, model, what: str) -> int | None:
    """Pixels as cells; None stays None, the model's own size."""
    factor = model.tokenizer.factor
    if pixels is None:
        return None
    if pixels < factor or pixels % factor:
        raise ValueError(f"--{what} is {pixels} pixels; it must be a multiple of {factor}, the width of a cell.")
    return pixels // factor


def _file_name(picture: int, class_name: str) -> str:
    word = "".join(letter if letter.isalnum() else "_" for letter in class_name)
    return f"{picture:05}_{word}.png"


def _facts(arguments: argparse.Namespace, model, picture: int, class_id: int, decoding) -> dict:
    """What a picture carries, enough to draw it again."""
    defaults = model.defaults
    # The line from a start to an end has no power.
    default_power = None if len(arguments.guidance or ()) == 2 else defaults.guidance_power
    return {
        "model": model.name,
        "class": class_id,
        "class_name": model.class_names[class_id],
        "seed": arguments.seed,
        "picture": picture,
        "width": arguments.width,
        "height": arguments.height,
        "overlap": arguments.overlap,
        "steps": decoding.steps,
        "guidance": arguments.guidance or [defaults.guidance],
        "guidance_power": default_power if arguments.guidance_power is None else arguments.guidance_power,
        "temperature": decoding.sampling.temperature,
        "top_k": arguments.top_k,
        "top_p": arguments.top_p,
        "order": arguments.order or defaults.order,
        "dtype": str(next(model.decoder.parameters()).dtype).removeprefix("torch."),
    }
