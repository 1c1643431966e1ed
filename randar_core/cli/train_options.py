"""The options of the commands that train."""

import argparse

from ..training.transformer import TRAINABLE
from . import arguments as options

PROCEDURAL, SHAPES = "procedural", "procedural-shapes"
TOKENIZER_NETWORK = {
    "channels": 32,  # of the finest level
    "res_blocks": 1,  # a level
    "codebook_size": 1024,
    "codebook_dim": 8,
    "z_channels": 64,
    "norm_groups": 8,
}
MULTIPLIERS = (1, 1, 2, 4)
TRANSFORMER_NETWORK = {"width": 256, "layers": 8, "heads": 4}
PROCEDURAL_PICTURES = 24_000
WHOLE_EVERY = 8
FAMILY = "randar"  # that is trained by default


def add_tokenizer_options(parser: argparse.ArgumentParser) -> None:
    add_pictures(parser)
    add_loop(parser, steps=20_000, batch=16, rate=1e-3, weight_decay=0.0, average=0.0)
    parser.add_argument(
        "--pixels-of",
        metavar="TOKENIZER",
        help="train only the decoder of this trained tokenizer: its ids and transformers that learnt them stay valid; "
        "its file, or the name of a downloaded release (default: a new tokenizer, of the network below)",
    )
    network = parser.add_argument_group("network")
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
        help="those of the decoder (default: the same); with --pixels-of it grows by whole multiples",
    )
    network.add_argument(
        "--margin",
        type=options.at_least(0),
        metavar="CELLS",
        help="decode this many cells more on each side and crop them again, against a line along the edge of pictures "
        "(default: 1; with --pixels-of that of the tokenizer)",
    )
    parser.add_argument(
        "--adversarial",
        type=options.at_least(0, whole=False),
        default=0.0,
        metavar="WEIGHT",
        help="with --pixels-of, let a discriminator ask for sharp edges; its loss weighs this many times as much as "
        "the error of the pixels; 0.5 is a good value (default: 0, none)",
    )


def add_transformer_options(parser: argparse.ArgumentParser) -> None:
    add_pictures(parser)
    parser.add_argument("--tokenizer", required=True, help="its file, or the name of a downloaded release")
    add_loop(parser, steps=50_000, batch=64, rate=1e-3, weight_decay=0.05, average=0.999)
    learning = parser.add_argument_group("learning")
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
        "downloaded release (default: a new transformer, of the network below). With --layers it grows to that number",
    )
    learning.add_argument(
        "--oversample",
        type=class_and_times,
        action="extend",
        nargs="+",
        default=[],
        metavar="CLASS=N",
        help="classes that are hard to learn: their pictures come N times as often, though no more often without class "
        "(default: every picture once an epoch)",
    )
    network = parser.add_argument_group("network")
    network.add_argument("--family", choices=TRAINABLE, help=f"default: that of --start-from, or {FAMILY}")
    for name, value in TRANSFORMER_NETWORK.items():
        network.add_argument(f"--{name}", type=options.at_least(1), help=f"default: {value}")
    steps = ", ".join(f"{family.network.traits.steps} of {name}" for name, family in TRAINABLE.items())
    drawing = parser.add_argument_group("sample sheets, and the model's defaults")
    drawing.add_argument("--guidance", type=options.finite, default=2.0, help="at the end of a picture (default: 2)")
    drawing.add_argument(
        "--sheet-steps",
        type=options.at_least(1),
        help=f"calls for a picture (default: those of its paper, {steps})",
    )


def add_builtin_options(parser: argparse.ArgumentParser) -> None:
    options.add_output(parser, "runs/builtin")
    parser.add_argument("--device", default="auto", help="cpu, cuda, … (default: the fastest that is found)")
    workers = "processes that draw pictures ahead (default: 0)"
    parser.add_argument("--workers", type=options.at_least(0), default=0, help=workers)
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoints in --out")
    options.add_force(parser, "begin again in a folder that holds a training, and replace it")


def add_pictures(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("pictures")
    group.add_argument(
        "pictures",
        help="a folder with a sub-folder of pictures for each class (anything that Pillow reads, whatever its name "
        f"ends in), or a drawn set: '{PROCEDURAL}' (the landscapes of the "
        f"built-in model) or '{SHAPES}'",
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
        "--views",
        type=options.share,
        metavar="SHARE",
        help=f"share of the pictures of '{PROCEDURAL}' that show what lies beside, above or below their scene, or a "
        "part of it at twice its size; for outpainting (default: 0)",
    )
    group.add_argument(
        "--foreign-scenes",
        type=options.share,
        metavar="SHARE",
        help=f"share of the things of '{PROCEDURAL}', such as houses, that stand in a scene of another class; for "
        "edits of the class (default: 0)",
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


def add_loop(
    parser: argparse.ArgumentParser, steps: int, batch: int, rate: float, weight_decay: float, average: float
) -> None:
    """The options of the training loop, with the defaults of one training."""
    group = parser.add_argument_group("training")
    options.add_output(group, "runs/model")
    group.add_argument("--resume", action="store_true", help="continue from the last checkpoint in --out")
    options.add_force(group, "begin again in a folder that holds a training, and replace it")
    group.add_argument("--device", default="auto", help="cpu, cuda, … (default: the fastest that is found)")
    group.add_argument("--seed", type=options.seed, default=0)
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


def class_and_times(text: str) -> tuple[str, int]:
    """'fish=5' -> ('fish', 5)"""
    name, _, times = text.rpartition("=")
    if not name:
        raise argparse.ArgumentTypeError(f"'{text}' isn't of the form CLASS=N, like fish=3")
    return name, options.at_least(1)(times)
