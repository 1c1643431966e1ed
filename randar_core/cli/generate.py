"""`randar generate`: pictures of classes."""

import argparse
import time

from . import options


def register(subparsers) -> None:
    parser = subparsers.add_parser("generate", help="draw pictures")
    parser.add_argument("classes", nargs="+", help="class ids or names (several, comma-separated, or 'all')")
    parser.add_argument("--count", type=int, default=1, help="pictures of each class (default: 1)")
    parser.add_argument("--batch", type=int, default=8, help="pictures drawn together (default: 8)")
    parser.add_argument("--first", type=int, default=0, help="index of the first picture: any one can be drawn again")
    parser.add_argument("--sheet", action="store_true", help="one contact sheet in place of single files")
    options.add_output(parser)
    options.add_model(parser)
    options.add_drawing(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    import torch
    from tqdm import tqdm

    from ..decoding.canvas import Canvas
    from ..decoding.loop import Setting, decode
    from ..decoding.plan import make_plan
    from ..images import contact_sheet, save_png, writable_folder

    for name in ("count", "batch"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"--{name} is {getattr(arguments, name)}; it must be at least 1.")
    folder = writable_folder(arguments.out)
    model = options.load_model(arguments)
    steps = model.defaults.steps if arguments.steps is None else arguments.steps
    guidance, sampling = options.guidance_of(arguments, model), options.sampling_of(arguments, model)
    wanted = [c for c in options.classes_of(arguments.classes, model) for _ in range(arguments.count)]
    device = next(model.decoder.parameters()).device
    side = model.decoder.config.grid
    sheet, began = [], time.perf_counter()
    with torch.inference_mode(), tqdm(total=len(wanted), unit=" pictures") as bar:
        for start in range(0, len(wanted), arguments.batch):
            classes = wanted[start : start + arguments.batch]
            pictures = range(arguments.first + start, arguments.first + start + len(classes))
            canvas = Canvas.empty(len(classes), side, side, device)
            plan = make_plan(
                canvas, steps, arguments.seed, options.order_of(arguments, model), pictures, model.decoder.parallel
            )
            decoded = decode(model.decoder, canvas, plan, Setting(torch.tensor(classes), guidance, sampling))
            pixels = model.tokenizer.decode(decoded.ids)
            sheet += pixels.float().cpu() if arguments.sheet else []
            for picture, class_id, image in zip(pictures, classes, pixels, strict=True):
                if not arguments.sheet:
                    facts = _facts(arguments, model, picture, class_id, steps, sampling)
                    save_png(folder / _file_name(picture, model.class_names[class_id]), image, facts)
            bar.update(len(classes))
    rate = len(wanted) / (time.perf_counter() - began)
    if arguments.sheet:
        # One row a class where every class has several pictures.
        columns = arguments.count if 1 < arguments.count <= 16 else 8
        save_png(folder / "sheet.png", contact_sheet(torch.stack(sheet), columns), {"classes": wanted})
    print(f"{len(wanted)} pictures in {folder} ({rate:.2f} a second)")


def _file_name(picture: int, class_name: str) -> str:
    word = "".join(letter if letter.isalnum() else "_" for letter in class_name)
    return f"{picture:05}_{word}.png"


def _facts(arguments: argparse.Namespace, model, picture: int, class_id: int, steps: int, sampling) -> dict:
    """What a picture carries, enough to draw it again."""
    return {
        "model": model.name,
        "class": class_id,
        "class_name": model.class_names[class_id],
        "seed": arguments.seed,
        "picture": picture,
        "steps": steps,
        "guidance": list(arguments.guidance or [model.defaults.guidance_start, model.defaults.guidance]),
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "order": arguments.order or model.defaults.order,
        "dtype": str(next(model.decoder.parameters()).dtype).removeprefix("torch."),
    }
