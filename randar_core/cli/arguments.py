"""Options that several commands share. What their values turn into is in `build.py`."""

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from ..decoding.orders import ORDERS
from ..decoding.schedule import SCHEDULES
from ..tasks.inpaint import THRESHOLD

LARGE_GUIDANCE = 3.0  # the weight of the class with spatial guidance (RandAR, section 3.4)
SPATIAL_GUIDANCE, DROP_RATIO = 2.5, 0.5
DTYPES = ("auto", "float32", "bfloat16", "float16")
PRECISIONS = (*DTYPES, "int8")
GUIDANCE_HELP = "guidance at the end, or at the start and at the end (default: the model's)"
LARGE_GUIDANCE_HELP = f"constant guidance, or guidance at the start and at the end (default: {LARGE_GUIDANCE:g})"
CONDITION_HELP = "a class id or name, or a blend such as '0.7*house + 0.3*castle'"
SEEDS = 2**63  # what torch's generators take


def at_least(low: float, whole: bool = True) -> Callable[[str], float]:
    """For `type=` of an option: a finite number, a whole one unless said otherwise, that isn't below `low`."""

    def number(text: str):
        try:
            value = int(text) if whole else float(text)
        except ValueError:
            value = None
        if value is None or not low <= value < math.inf:
            kind = "a whole number" if whole else "a number"
            raise argparse.ArgumentTypeError(f"it must be {kind} of at least {low}, got '{text}'")
        return value

    return number


def share(text: str) -> float:
    """For `type=` of an option: a number from 0 up to, but not, 1."""
    value = at_least(0, whole=False)(text)
    if not value < 1:
        raise argparse.ArgumentTypeError(f"it must be less than 1, got '{text}'")
    return value


def finite(text: str) -> float:
    """For `type=` of an option: a number that is neither infinite nor NaN."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"it must be a number, got '{text}'")
    return value


def seed(text: str) -> int:
    """For `type=` of an option: a whole number that torch's generators take."""
    try:
        value = int(text)
    except ValueError:
        value = None
    if value is None or not -SEEDS <= value < SEEDS:
        raise argparse.ArgumentTypeError(f"it must be a whole number of at most 63 bits, got '{text}'")
    return value


def add_files(parser: argparse.ArgumentParser):
    """The group of options on the model, with those that name its files."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        default="builtin",
        help="'builtin', the name of a release that was downloaded (`randar download`), or a file (default: builtin)",
    )
    group.add_argument(
        "--tokenizer", help="the tokenizer of a transformer's file, by name or file (default: found automatically)"
    )
    return group


def add_model(parser: argparse.ArgumentParser) -> None:
    """The group of options on the model."""
    add_device(add_files(parser), PRECISIONS)


def add_device(parser, precisions: Sequence[str] = DTYPES) -> None:
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps, … (default: the fastest that is found)")
    words = "of the weights and, where the device has it, of computing (default: fits the device)"
    if "int8" in precisions:
        words += "; int8 is for the CPU: quickest, but pictures lose a little and depend on the others of their batch"
    parser.add_argument("--dtype", default="auto", choices=precisions, help=words)


def add_drawing(parser: argparse.ArgumentParser, guidance: str = GUIDANCE_HELP) -> None:
    group = parser.add_argument_group("drawing")
    group.add_argument("--seed", type=seed, default=0, help="the same seed gives the same pictures (default: 0)")
    group.add_argument("--steps", type=int, help="calls of the model for a whole picture (default: the model's)")
    add_guidance(group, guidance)
    group.add_argument("--temperature", type=float, help="default: the model's")
    group.add_argument("--top-k", type=int, default=0, help="sample from the k likeliest tokens (default: 0, off)")
    group.add_argument(
        "--top-p", type=float, default=1.0, help="the likeliest tokens with this share of the probability"
    )
    order = group.add_mutually_exclusive_group()
    order.add_argument(
        "--order",
        choices=sorted(ORDERS),
        metavar="ORDER",
        help=f"{', '.join(sorted(ORDERS))} (default: the one the model was trained on)",
    )
    order.add_argument("--painted-order", type=Path, metavar="PICTURE", help="a grey picture: bright cells come first")
    group.add_argument(
        "--repulsion",
        type=at_least(0),
        help="cells between those of one call, for --order proximity (default: its own)",
    )
    group.add_argument(
        "--schedule",
        choices=sorted(SCHEDULES),
        help="the number of tokens of each call (default: the one the model's family was published with)",
    )


def add_scoring(parser: argparse.ArgumentParser) -> None:
    """Options where a picture is scored and nothing is drawn: without steps and without sampling."""
    group = parser.add_argument_group("scoring")
    group.add_argument("--seed", type=seed, default=0, help="of the order in which cells are read (default: 0)")
    add_guidance(group, "guidance of the score, at the end or at the start and at the end (default: none)")


def add_guidance(group, words: str) -> None:
    group.add_argument("--guidance", type=float, nargs="+", metavar="W", help=words)
    group.add_argument(
        "--guidance-power", type=float, metavar="P", help="RAR's schedule: the greater P, the later guidance rises"
    )


def add_conditions(parser: argparse.ArgumentParser) -> None:
    """What pictures show next to their class: a negative class, and regions of other classes."""
    group = parser.add_argument_group("conditions")
    group.add_argument(
        "--negative",
        metavar="CLASS",
        help=f"steer away from it: {CONDITION_HELP}. The picture's own class leaves nothing to steer by: that is a "
        "picture without guidance",
    )
    group.add_argument(
        "--region",
        nargs=2,
        action="append",
        default=[],
        metavar=("MASK", "CLASS"),
        help="a picture of any size that covers the canvas, white where it shows this class; may be given several "
        "times. The class of the command is then the background",
    )


def add_mask_reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mask-from",
        choices=("brightness", "alpha"),
        default="brightness",
        help="bright pixels mark, or transparent ones do (default: brightness; transparent pixels mark nothing then)",
    )
    parser.add_argument(
        "--threshold",
        type=share,
        default=THRESHOLD,
        help="pixels of the mask up to this value stay; above it, it is the opacity of the new pixels "
        f"(default: {THRESHOLD:g} of white)",
    )


def add_extrapolation(parser, factor: int | None) -> None:
    words = "default: 2, the paper's" if factor else "draw a picture this many times as wide and high as the model's"
    group = parser.add_argument_group("extrapolation")
    group.add_argument("--factor", type=int, default=factor, help=words)
    group.add_argument("--spatial-guidance", type=float, help=f"1 is none (default: {SPATIAL_GUIDANCE})")
    group.add_argument("--drop-ratio", type=float, help=f"share of the context that it masks (default: {DROP_RATIO})")
    group.add_argument(
        "--boundary", type=at_least(0), help="fast frequencies with true positions (default: the model's)"
    )


def add_output(parser: argparse.ArgumentParser, default: str = "out") -> None:
    parser.add_argument("--out", type=Path, default=Path(default), help=f"folder to write to (default: {default})")


def add_force(parser: argparse.ArgumentParser, words: str = "replace files that exist already") -> None:
    parser.add_argument("--force", action="store_true", help=words)
