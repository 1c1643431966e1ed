"""`randar demo`: what the built-in model can do, as pictures in a folder."""

import argparse

from . import options


def register(subparsers) -> None:
    parser = subparsers.add_parser("demo", help="draw a tour of what the model can do")
    options.add_output(parser)
    options.add_model(parser)
    parser.add_argument("--seed", type=int, default=0)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    import torch
    from tqdm import tqdm

    from ..decoding.canvas import Canvas
    from ..decoding.loop import Setting, decode
    from ..decoding.orders import ORDERS
    from ..decoding.plan import make_plan
    from ..decoding.sampling import Sampling
    from ..images import contact_sheet, save_png, writable_folder

    folder = writable_folder(arguments.out)
    model = options.load_model(arguments)
    decoder, side = model.decoder, model.decoder.config.grid
    device = next(decoder.parameters()).device
    order, sampling = ORDERS[model.defaults.order], Sampling(model.defaults.temperature)

    def draw(classes: list[int], title: str, on_call=None):
        canvas = Canvas.empty(len(classes), side, side, device)
        plan = make_plan(canvas, model.defaults.steps, arguments.seed, order, parallel=decoder.parallel)
        with tqdm(total=len(plan.sizes[0]), desc=title, unit=" calls") as bar:

            def call(now):
                bar.update()
                if on_call is not None:
                    on_call(now)

            return decode(decoder, canvas, plan, Setting(torch.tensor(classes), model.guidance(), sampling), call)

    with torch.inference_mode():
        classes = list(range(min(12, len(model.class_names))))
        pixels = model.tokenizer.decode(draw(classes * 4, "all classes").ids)
        save_png(folder / "classes.png", contact_sheet(pixels.float().cpu(), len(classes)))

        stages = []
        decoded = draw(classes[:1], "filling in", lambda now: stages.append((now.ids.clone(), now.known.clone())))
        shown = [stages[round(i * (len(stages) - 1) / 15)] for i in range(16)]
        pictures = model.tokenizer.decode(torch.cat([ids for ids, _ in shown])).float()
        known = torch.cat([known for _, known in shown])[:, None].float()
        known = torch.nn.functional.interpolate(known, size=pictures.shape[2:])
        save_png(folder / "filling_in.png", contact_sheet((pictures * known + 0.9 * (1 - known)).cpu(), 8))
    print(f"{folder}: classes.png, filling_in.png ({decoded.calls} calls a picture)")
