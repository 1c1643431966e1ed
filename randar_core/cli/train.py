"""`randar train-tokenizer`, `randar train`, `randar train-builtin`: models of one's own, and the built-in one."""

import argparse
from dataclasses import replace
from pathlib import Path

from . import options

PROCEDURAL, SHAPES = "procedural", "procedural-shapes"
TOKENIZER_NETWORK = {
    "channels": 32,  # of the finest level
    "res_blocks": 1,  # a level
    "codebook_size": 1024,
    "codebook_dim": 8,
    "z_channels": 64,
    "norm_groups": 8,
}
DECODER_NETWORK = {"width": 256, "layers": 8, "heads": 4}
PROCEDURAL_PICTURES = 24_000
WHOLE_EVERY = 8


def register(subparsers) -> None:
    tokenizer = subparsers.add_parser("train-tokenizer", help="train a tokenizer on a folder of pictures")
    _add_pictures(tokenizer)
    _add_loop(tokenizer, steps=20_000, batch=16, rate=1e-3, weight_decay=0.0, average=0.0)
    tokenizer.add_argument(
        "--pixels-of",
        metavar="TOKENIZER",
        help="train only the half of this trained tokenizer that makes pixels: ids, and decoders that learnt them, "
        "stay valid; its file, or the name of a downloaded release (default: a new tokenizer, of the network below)",
    )
    network = tokenizer.add_argument_group("network")
    for name, value in TOKENIZER_NETWORK.items():
        network.add_argument(f"--{name.replace('_', '-')}", type=options.at_least(1), help=f"default: {value}")
    network.add_argument(
        "--multipliers",
        type=options.at_least(1),
        nargs="+",
        metavar="M",
        help="of the channels, from the finest level on; each further level halves the sides (default: 1 1 2 4)",
    )
    network.add_argument(
        "--decoder-multipliers",
        type=options.at_least(1),
        nargs="+",
        metavar="M",
        help="those of the half that makes pixels (default: the same); with --pixels-of it grows by whole times",
    )
    network.add_argument(
        "--margin",
        type=options.at_least(0),
        metavar="CELLS",
        help="decode so many cells more on each side and cut them off again, against a line along the edge of pictures "
        "(default: 1; with --pixels-of that of the tokenizer)",
    )
    tokenizer.set_defaults(run=_train_tokenizer)

    decoder = subparsers.add_parser("train", help="train a decoder on a folder of pictures, with a trained tokenizer")
    _add_pictures(decoder)
    decoder.add_argument("--tokenizer", required=True, help="its file, or the name of a downloaded release")
    _add_loop(decoder, steps=50_000, batch=64, rate=1e-3, weight_decay=0.05, average=0.999)
    learning = decoder.add_argument_group("learning")
    learning.add_argument(
        "--optimizer",
        choices=("adamw", "muon"),
        default="adamw",
        help="muon is for the layers' matrices, with AdamW for the rest (default: adamw)",
    )
    learning.add_argument(
        "--first-cells",
        type=options.at_least(1),
        metavar="N",
        help="most batches hold only the first N cells of every order: the time goes where the shape is decided "
        "(default: all cells)",
    )
    learning.add_argument(
        "--whole-every",
        type=options.at_least(1),
        metavar="N",
        help=f"with --first-cells, every N-th batch holds whole pictures (default: {WHOLE_EVERY})",
    )
    learning.add_argument(
        "--class-dropout", type=options.share, default=0.1, help="share of samples without class (default: 0.1)"
    )
    learning.add_argument(
        "--start-from",
        metavar="MODEL",
        help="begin with the weights of this trained model, which has the same tokenizer; its file, or the name of a "
        "downloaded release (default: a new decoder, of the network below). With --layers it grows to as many",
    )
    learning.add_argument(
        "--oversample",
        type=_class_and_times,
        action="extend",
        nargs="+",
        default=[],
        metavar="CLASS=N",
        help="classes that are hard to learn: their pictures come N times as often, though no more often without class "
        "(default: every picture once an epoch)",
    )
    network = decoder.add_argument_group("network")
    for name, value in DECODER_NETWORK.items():
        network.add_argument(f"--{name}", type=options.at_least(1), help=f"default: {value}")
    drawing = decoder.add_argument_group("sample sheets, and the model's defaults")
    drawing.add_argument("--guidance", type=float, default=2.0, help="at the end of a picture (default: 2)")
    drawing.add_argument(
        "--sheet-steps", type=options.at_least(1), default=88, help="calls for a picture (default: 88)"
    )
    decoder.set_defaults(run=_train_decoder)

    builtin = subparsers.add_parser("train-builtin", help="train the built-in model anew, by its recipe")
    options.add_output(builtin, "runs/builtin")
    builtin.add_argument("--device", default="auto", help="cpu, cuda, … (default: the fastest there is)")
    workers = "processes that draw pictures ahead (default: 0)"
    builtin.add_argument("--workers", type=options.at_least(0), default=0, help=workers)
    builtin.add_argument("--resume", action="store_true", help="go on from the last checkpoints in --out")
    builtin.set_defaults(run=_train_builtin)


def _add_pictures(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("pictures")
    group.add_argument(
        "pictures",
        help=f"a folder with a sub-folder of pictures for each class, or a drawn set: '{PROCEDURAL}' (landscapes) or "
        f"'{SHAPES}'",
    )
    group.add_argument(
        "--size",
        type=options.at_least(1),
        default=128,
        help="pixels of a side; pictures are scaled down (default: 128)",
    )
    group.add_argument(
        "--count", type=options.at_least(1), help=f"pictures of a drawn set (default: {PROCEDURAL_PICTURES})"
    )
    group.add_argument(
        "--turn",
        type=options.at_least(0, whole=False),
        metavar="DEGREES",
        help=f"most that objects of '{SHAPES}' are turned to either side (default: as far as each shape may be)",
    )
    group.add_argument(
        "--extent",
        type=float,
        nargs=2,
        metavar=("LEAST", "GREATEST"),
        help=f"extent of the smallest and the largest object of '{SHAPES}', in sides of the picture, from 0.1 to 0.8 "
        "(default: 0.46 0.74)",
    )
    group.add_argument(
        "--one-way",
        action="store_true",
        default=None,
        help=f"let moons, houses, trees and fish of '{SHAPES}' face one way",
    )
    workers = "processes that read pictures ahead (default: 0)"
    group.add_argument("--workers", type=options.at_least(0), default=0, help=workers)


def _add_loop(parser, steps: int, batch: int, rate: float, weight_decay: float, average: float) -> None:
    group = parser.add_argument_group("training")
    options.add_output(group, "runs/model")
    group.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    group.add_argument("--device", default="auto", help="cpu, cuda, … (default: the fastest there is)")
    group.add_argument("--seed", type=int, default=0)
    natural, positive, real = options.at_least(0), options.at_least(1), options.at_least(0, whole=False)
    for name, kind, default, words in (
        ("steps", positive, steps, ""),
        ("batch", positive, batch, "samples a step, of all processes"),
        ("rate", real, rate, "highest learning rate"),
        ("warmup", natural, 200, "steps until it is reached"),
        ("weight-decay", real, weight_decay, "of matrices"),
        ("clip", real, 1.0, "longest gradient, 0 for any"),
        ("average", options.share, average, "decay of averaged weights, 0 for none"),
        ("save-every", positive, 500, "steps between checkpoints"),
        ("sample-every", positive, 1000, "steps between sample sheets"),
    ):
        words = f"{words} (default: {default})" if words else f"default: {default}"
        group.add_argument(f"--{name}", type=kind, default=default, help=words)


def _train_tokenizer(arguments: argparse.Namespace) -> None:
    from ..checkpoints.locate import locate
    from ..checkpoints.model import load_tokenizer
    from ..io.images import writable_folder
    from ..models.llamagen import LlamaGenConfig, LlamaGenTokenizer
    from ..runtime.distributed import distributed
    from ..training.tokenizer import PixelsRecipe, TokenizerRecipe
    from ..training.train import train_pixels, train_tokenizer

    with distributed(options.device_of(arguments.device)) as device:
        defaults = {**TOKENIZER_NETWORK, "multipliers": (1, 1, 2, 4)}
        given = {name: getattr(arguments, name) for name in defaults if getattr(arguments, name) is not None}
        if arguments.pixels_of is None:
            margin = 1 if arguments.margin is None else arguments.margin
            config = LlamaGenConfig(
                **defaults | given, decoder_multipliers=arguments.decoder_multipliers, margin=margin
            )
        else:
            if given:
                named = ", ".join(f"--{name.replace('_', '-')}" for name in given)
                raise ValueError(
                    "--pixels-of keeps the network as it is, but for --decoder-multipliers and --margin; leave out "
                    f"{named}."
                )
            trained = load_tokenizer(locate(arguments.pixels_of), device)
            if not isinstance(trained, LlamaGenTokenizer):
                raise ValueError(f"'{arguments.pixels_of}' is of another kind than the tokenizers trained here.")
            config = trained.config
        if arguments.size % config.factor:
            raise ValueError(
                f"--size {arguments.size} is no multiple of {config.factor}, the pixels along a side of a token."
            )
        writable_folder(arguments.out)
        pictures, facts, _ = _pictures(arguments)
        rest = (_loop(arguments), _reporting(arguments), device, arguments.resume)
        if arguments.pixels_of is None:
            # A short training, as one to try things out, needs its codebook early too.
            recipe = TokenizerRecipe()
            recipe = replace(recipe, free_steps=max(1, min(recipe.free_steps, arguments.steps // 4)))
            train_tokenizer(pictures, facts, config, recipe, *rest)
        else:
            train_pixels(
                trained, pictures, facts, PixelsRecipe(), *rest, arguments.decoder_multipliers, arguments.margin
            )


def _train_decoder(arguments: argparse.Namespace) -> None:
    from ..checkpoints.locate import locate
    from ..checkpoints.model import load_tokenizer
    from ..checkpoints.releases import Defaults
    from ..io.images import writable_folder
    from ..models.randar import RandARConfig
    from ..runtime.distributed import distributed
    from ..training.train import train_decoder
    from ..training.transformer import Prefixes

    if arguments.whole_every is not None and arguments.first_cells is None:
        raise ValueError("--whole-every goes with --first-cells; all batches hold whole pictures without it.")
    writable_folder(arguments.out)
    with distributed(options.device_of(arguments.device)) as device:
        tokenizer = load_tokenizer(locate(arguments.tokenizer), device)
        if arguments.size % tokenizer.factor:
            raise ValueError(
                f"--size {arguments.size} is no multiple of {tokenizer.factor}, the pixels along a side of a token."
            )
        pictures, facts, classes = _pictures(arguments)
        network = {name: getattr(arguments, name) for name in DECODER_NETWORK if getattr(arguments, name) is not None}
        start = None
        if arguments.start_from is not None:
            if fixed := network.keys() - {"layers"}:
                raise ValueError(
                    f"--start-from keeps the network as it is but for added layers; leave out "
                    f"--{', --'.join(sorted(fixed))}."
                )
            start = _start(arguments, tokenizer, device)
            network = {name: getattr(start.transformer.config, name) for name in DECODER_NETWORK} | network
        config = RandARConfig(
            **DECODER_NETWORK | network,
            codebook_size=tokenizer.codebook_size,
            classes=len(classes),
            grid=arguments.size // tokenizer.factor,
        )
        train_decoder(
            pictures,
            facts,
            tokenizer,
            config,
            classes,
            Defaults(arguments.guidance, steps=arguments.sheet_steps),
            _loop(arguments, arguments.optimizer),
            _reporting(arguments),
            device,
            arguments.resume,
            arguments.class_dropout,
            Prefixes(arguments.first_cells, arguments.whole_every or WHOLE_EVERY) if arguments.first_cells else None,
            start,
            arguments.oversample,
        )


def _class_and_times(text: str) -> tuple[str, int]:
    """'fish=5' -> ('fish', 5)"""
    name, _, times = text.rpartition("=")
    if not name:
        raise argparse.ArgumentTypeError(f"'{text}' isn't of the form CLASS=N, like fish=3")
    return name, options.at_least(1)(times)


def _start(arguments: argparse.Namespace, tokenizer, device):
    """The trained decoder that `--start-from` names. ValueError for one that can't go on with `tokenizer`."""
    import torch

    from ..checkpoints.build import build
    from ..checkpoints.model import open_model
    from ..models.randar import RandAR
    from ..training.train import makes_same_ids
    from ..training.transformer import Start

    opened = open_model(arguments.start_from, arguments.tokenizer)
    model = opened.build(device, torch.float32)
    if not isinstance(model.transformer, RandAR):
        raise ValueError(f"'{arguments.start_from}' is of another kind than the decoders trained here.")
    own = opened.bundled_tokenizer
    if own and not makes_same_ids(build(own, device), tokenizer):
        raise ValueError(
            f"'{arguments.start_from}' learnt the ids of another tokenizer than '{arguments.tokenizer}', where they "
            f"mean other things. Its own one is in the same file: --tokenizer {arguments.start_from}"
        )
    return Start(model.transformer, model.class_names)


def _train_builtin(arguments: argparse.Namespace) -> None:
    from ..io.images import writable_folder
    from ..runtime.distributed import distributed
    from ..training.builtin import train_builtin

    writable_folder(arguments.out)
    with distributed(options.device_of(arguments.device)) as device:
        print(train_builtin(arguments.out, device, arguments.resume, arguments.workers))


def _pictures(arguments: argparse.Namespace):
    """The pictures, what they are as facts for the checkpoint, and the names of their classes."""
    from ..procedural.landscape.render import Landscapes
    from ..procedural.render import Pictures
    from ..procedural.scene import FREE, Bounds
    from ..runtime.distributed import broadcast_from_rank_0, is_rank_0
    from ..training.folder import open_folder

    count = arguments.count or PROCEDURAL_PICTURES
    if arguments.pictures == SHAPES:
        turn = FREE.turn if arguments.turn is None else min(arguments.turn, FREE.turn)
        half = FREE.half if arguments.extent is None else tuple(extent / 2 for extent in arguments.extent)
        bounds = Bounds(turn, half, not arguments.one_way)
        pictures = Pictures(arguments.seed, count, arguments.size, bounds)
        return pictures, pictures.facts(), pictures.classes
    for name in ("turn", "extent", "one-way"):
        if getattr(arguments, name.replace("-", "_")) is not None:
            raise ValueError(f"--{name} is for '{SHAPES}', not for '{arguments.pictures}'. Leave it out.")
    if arguments.pictures == PROCEDURAL:
        pictures = Landscapes(arguments.seed, count, arguments.size)
        return pictures, pictures.facts(), pictures.classes
    if arguments.count is not None:
        raise ValueError(f"--count is for '{PROCEDURAL}' and '{SHAPES}'; a folder is taken as it is. Leave it out.")
    # Every picture is read here: once for all processes, which must not differ in what they saw.
    folder = broadcast_from_rank_0(lambda: open_folder(Path(arguments.pictures), arguments.size))
    if is_rank_0():
        _report(folder)
    return folder, folder.facts(), folder.classes


def _report(folder) -> None:
    print(f"{len(folder):,} pictures in {len(folder.classes)} classes: {', '.join(folder.classes[:20])}")
    for line in folder.skipped:
        print(f"skipped {line}")
    if folder.skipped:
        print(f"Skipped in all: {len(folder.skipped)}.")
    if len(folder.classes) == 1:
        print("There is one class only: guidance will have nothing to choose between.")


def _loop(arguments: argparse.Namespace, optimizer: str = "adamw"):
    from ..training.loop import LoopSetting

    return LoopSetting(
        steps=arguments.steps,
        batch=arguments.batch,
        learning_rate=arguments.rate,
        warmup=arguments.warmup,
        weight_decay=arguments.weight_decay,
        clip=arguments.clip,
        average=arguments.average,
        seed=arguments.seed,
        optimizer=optimizer,
    )


def _reporting(arguments: argparse.Namespace):
    from ..training.loop import Reporting

    return Reporting(
        arguments.out, save_every=arguments.save_every, sample_every=arguments.sample_every, workers=arguments.workers
    )
