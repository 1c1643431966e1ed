"""`randar demo`: a tour of what the model can do, as pictures in a folder."""

import argparse
import math

from . import options


def register(subparsers) -> None:
    parser = subparsers.add_parser("demo", help="draw a tour of what the model can do")
    options.add_output(parser)
    options.add_model(parser)
    options.add_drawing(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    import torch

    from ..io.images import contact_sheet, save_png, writable_folder

    folder = writable_folder(arguments.out)
    model = options.load_model(arguments)
    decoding = options.decoding_of(arguments, model)
    with torch.inference_mode():
        for name, pictures, columns in _tour(model, decoding, options.device_of_model(model)):
            save_png(folder / f"{name}.png", contact_sheet(pictures.float().cpu(), columns))
            print(folder / f"{name}.png")


def _tour(model, decoding, device):
    """Name, pictures `[B, 3, H, W]` and columns of every sheet, drawn one after the other."""
    import torch
    import torch.nn.functional as F

    from ..decoding.guidance import Linear, spatial_guidance
    from ..tasks.confidence import heat_map
    from ..tasks.extrapolate import extrapolate
    from ..tasks.generate import generate
    from ..tasks.inpaint import inpaint
    from ..tasks.outpaint import outpaint
    from ..tasks.refine import refine

    decoder, tokenizer = model.transformer, model.tokenizer
    shown = min(12, len(model.class_names))
    classes = torch.arange(shown, device=device)

    with _Bar("all classes") as call:
        drawn = generate(decoder, classes.repeat(4), decoding, on_call=call)
    yield "classes", tokenizer.decode(drawn.ids), shown
    pictures, ids = tokenizer.decode(drawn.ids[:shown]).float().clamp(0, 1), drawn.ids[:shown]
    side = pictures.shape[-1]

    stages = []
    with _Bar("filling in") as call:

        def keep(now):
            stages.append((now.ids.clone(), now.known.clone()))
            call(now)

        generate(decoder, classes[:1], decoding, on_call=keep)
    known = F.interpolate(torch.cat([known for _, known in stages])[:, None].float(), size=(side, side))
    steps = torch.cat([tokenizer.decode(ids) for ids, _ in stages])  # hundreds together take gigabytes
    yield "filling_in", steps * known + 0.9 * (1 - known), math.ceil(len(stages) ** 0.5)

    right_half = torch.zeros(1, side, side, device=device)
    right_half[:, :, side // 2 :] = 1
    with _Bar("inpaint: the right half anew") as call:
        repainted = inpaint(decoder, tokenizer, pictures, right_half, classes, decoding, on_call=call).pixels
    masked = pictures * (1 - right_half) + 0.9 * right_half
    yield "inpaint", torch.cat([pictures, masked, repainted]), shown

    inner = torch.zeros_like(right_half)
    inner[:, side // 16 : -side // 16, side // 16 : -side // 16] = 1
    others = classes.roll(-1)
    with _Bar("class edit: all but the rim as the next class") as call:
        edited = inpaint(decoder, tokenizer, pictures, inner, others, decoding, on_call=call).pixels
    yield "class_edit", torch.cat([pictures, edited]), shown

    with _Bar("outpaint: wider by half on either side") as call:
        margins = {"left": side // 2, "right": side // 2}
        wide = outpaint(decoder, tokenizer, pictures[:4], classes[:4], decoding, on_call=call, **margins).pixels
    yield "outpaint", wide, 2

    with _Bar("panorama") as call:
        grid = decoder.config.grid
        panorama = generate(decoder, classes[-3:][:1], decoding, height=grid, width=4 * grid, on_call=call)
    yield "panorama", tokenizer.decode(panorama.ids), 1

    with _Bar("refine: the least sure fifth anew") as call:
        refined = refine(decoder, ids, classes, decoding, share=0.2, confidence=drawn.confidence[:shown], on_call=call)
    sure = heat_map(drawn.confidence[:shown], side, side)
    yield "refine", torch.cat([pictures, sure, tokenizer.decode(refined.ids)]), shown

    if hasattr(decoder, "extrapolated_table"):
        spatial = spatial_guidance(Linear(3.0, 3.0), Linear(2.5, 2.5))
        with _Bar("extrapolate: twice the size") as call:
            large = extrapolate(
                decoder, classes[:4], 2, decoding, spatial, ids[:4], boundary=model.defaults.boundary, on_call=call
            )
        yield "extrapolate", tokenizer.decode(large.ids), 2


class _Bar:
    """A progress bar over the calls of one task."""

    def __init__(self, title: str):
        from tqdm import tqdm

        self.bar = tqdm(desc=title, unit=" calls")

    def __enter__(self):
        return self.update

    def __exit__(self, *error):
        self.bar.close()

    def update(self, now) -> None:
        self.bar.total = now.calls
        self.bar.update(now.call - self.bar.n)
