"""Options that several commands share, and what they turn into."""

import argparse
import hashlib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

LARGE_GUIDANCE = 3.0  # the weight of the class beside spatial guidance (RandAR, section 3.4)
SPATIAL_GUIDANCE, DROP_RATIO = 2.5, 0.5
DTYPES = ("auto", "float32", "bfloat16", "float16")
PRECISIONS = (*DTYPES, "int8")
GUIDANCE_WORDS = "guidance at the end, or at the start and at the end (default: the model's)"
LARGE_GUIDANCE_WORDS = f"guidance throughout, or at the start and at the end (default: {LARGE_GUIDANCE:g} throughout)"


def at_least(low: float, whole: bool = True):
    """For `type=` of an option: a number, a whole one unless said otherwise, that isn't below `low`."""

    def number(text: str):
        try:
            value = int(text) if whole else float(text)
        except ValueError:
            value = None
        if value is None or not value >= low:
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


def add_files(parser: argparse.ArgumentParser):
    """The group of options on the model, with those that name its files."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        default="builtin",
        help="'builtin', the name of a release that was downloaded (`randar download`), or a file (default: builtin)",
    )
    group.add_argument(
        "--tokenizer", help="the tokenizer of a decoder's file, by name or file (default: found by itself)"
    )
    return group


def add_model(parser: argparse.ArgumentParser) -> None:
    """The group of options on the model."""
    group = add_files(parser)
    add_device(group, PRECISIONS)


def add_device(parser, precisions: Sequence[str] = DTYPES) -> None:
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps, … (default: the fastest there is)")
    words = "of the weights and, where the device has it, of computing (default: fits the device)"
    if "int8" in precisions:
        words += (
            "; int8 is for the processor: quickest, but pictures lose a little and depend on those drawn beside them"
        )
    parser.add_argument("--dtype", default="auto", choices=precisions, help=words)


def add_drawing(parser: argparse.ArgumentParser, guidance: str = GUIDANCE_WORDS) -> None:
    from ..decoding.orders import ORDERS

    group = parser.add_argument_group("drawing")
    group.add_argument("--seed", type=int, default=0, help="the same seed gives the same pictures (default: 0)")
    group.add_argument("--steps", type=int, help="calls of the model for a whole picture (default: the model's)")
    _add_guidance(group, guidance)
    group.add_argument("--temperature", type=float, help="default: the model's")
    group.add_argument("--top-k", type=int, default=0, help="draw from the k likeliest tokens (default: 0, off)")
    group.add_argument("--top-p", type=float, default=1.0, help="draw from the likeliest tokens up to this probability")
    order = group.add_mutually_exclusive_group()
    order.add_argument("--order", choices=sorted(ORDERS), help="default: the one the model was trained on")
    order.add_argument("--painted-order", type=Path, metavar="PICTURE", help="a grey picture: bright cells come first")


def add_judging(parser: argparse.ArgumentParser) -> None:
    """What can be said where a picture is scored and nothing drawn: there are no steps, and no token is chosen."""
    group = parser.add_argument_group("judging")
    group.add_argument("--seed", type=int, default=0, help="of the order in which cells are read (default: 0)")
    _add_guidance(group, "guidance to judge under, at the end or at the start and at the end (default: none)")


def _add_guidance(group, words: str) -> None:
    group.add_argument("--guidance", type=float, nargs="+", metavar="W", help=words)
    group.add_argument("--guidance-power", type=float, metavar="P", help="RAR's course, the later the greater P")


def add_extrapolation(parser, factor: int | None) -> None:
    words = "default: 2, the paper's" if factor else "draw a picture so many times as wide and high as the model's"
    group = parser.add_argument_group("extrapolation")
    group.add_argument("--factor", type=int, default=factor, help=words)
    group.add_argument("--spatial-guidance", type=float, help=f"1 is none (default: {SPATIAL_GUIDANCE})")
    group.add_argument("--drop-ratio", type=float, help=f"context it leaves out (default: {DROP_RATIO})")
    group.add_argument("--boundary", type=at_least(0), help="fast frequencies with true places (default: the model's)")


def add_output(parser: argparse.ArgumentParser, default: str = "out") -> None:
    parser.add_argument("--out", type=Path, default=Path(default), help=f"folder to write to (default: {default})")


def device_of(name: str):
    """The torch device named; 'auto' takes a graphics card where there is one. ValueError for one that isn't there."""
    import torch

    if name == "auto":
        return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"The device '{name}' can't be used here: {str(error).splitlines()[0]}") from error
    return device


def precision(arguments: argparse.Namespace, device=None):
    """The precision that --dtype asks for on `device` or that of the options."""
    from ..runtime.precision import precision_of

    return precision_of(arguments.dtype, device or device_of(arguments.device))


def load_model(arguments: argparse.Namespace, device=None):
    """The model that the options name, in their precision, on `device` or theirs."""
    import torch

    from ..checkpoints.model import open_model
    from ..runtime.packed_linear import pack

    device = device or device_of(arguments.device)
    wanted = precision(arguments, device)
    opened = open_model(arguments.model, arguments.tokenizer)
    for note in opened.notes:
        print(f"randar: {note}", file=sys.stderr)
    model = opened.build(device, wanted.dtype)
    pack(model.transformer, wanted.bits)
    if device.type == "cpu":  # where encoding is a tenth faster so, see benchmarks/speed
        model.tokenizer.to(memory_format=torch.channels_last)
    return model


def digest_of(paths: Iterable[Path | None]) -> str:
    """A hash of what is in the files: their names alone don't say which weights or painting a picture came from."""
    digest = hashlib.blake2b(digest_size=8)
    for path in paths:
        if path is not None:
            with open(path, "rb") as file:
                while part := file.read(2**24):
                    digest.update(part)
    return digest.hexdigest()


def guidance_of(arguments: argparse.Namespace, model):
    """The guidance of the options; what they leave open is the model's own."""
    given: Sequence[float] = arguments.guidance or ()
    if len(given) > 2:
        raise ValueError(
            f"--guidance takes one or two numbers, the weight at the end or at start and end; got {given}."
        )
    start, end = (None, *given)[-2:] if given else (None, None)
    return model.guidance(end, start, arguments.guidance_power)


def decoding_of(arguments: argparse.Namespace, model, guidance=None):
    """How a task decodes: what the options of `add_drawing` say, else the model's defaults.

    A `guidance` goes before that of the options.
    """
    from ..decoding.options import WINDOWS_TOGETHER, DecodingOptions
    from ..decoding.orders import ORDERS, Painted
    from ..decoding.sampling import Sampling
    from ..io.images import read_pixels

    temperature = model.defaults.temperature if arguments.temperature is None else arguments.temperature
    return DecodingOptions(
        guidance=guidance_of(arguments, model) if guidance is None else guidance,
        steps=model.defaults.steps if arguments.steps is None else arguments.steps,
        seed=arguments.seed,
        sampling=Sampling(temperature, arguments.top_k, arguments.top_p),
        order=ORDERS[arguments.order or model.defaults.order]
        if arguments.painted_order is None
        else Painted(read_pixels(arguments.painted_order).mean((0, 1))),
        batch=WINDOWS_TOGETHER,
    )


def judging_of(arguments: argparse.Namespace, model):
    """How a picture is scored: what the options of `add_judging` say, without guidance unless they ask for it."""
    from ..decoding.guidance import UNGUIDED
    from ..decoding.options import WINDOWS_TOGETHER, DecodingOptions

    guided = arguments.guidance is not None or arguments.guidance_power is not None
    return DecodingOptions(
        guidance=guidance_of(arguments, model) if guided else UNGUIDED,
        steps=1,
        seed=arguments.seed,
        batch=WINDOWS_TOGETHER,
    )


def large_decoding_of(arguments: argparse.Namespace, model):
    """How an extrapolation decodes: as `decoding_of` says, but all of it under the course of `large_course`."""
    from ..decoding.guidance import class_guidance

    return decoding_of(arguments, model, class_guidance(large_course(arguments)))


def large_course(arguments: argparse.Namespace):
    """The weight of the class in an extrapolation, its low-resolution picture included: one number holds throughout.

    ValueError for a course that it doesn't have.
    """
    from ..decoding.guidance import Linear

    given = arguments.guidance or [LARGE_GUIDANCE]
    if len(given) > 2 or arguments.guidance_power is not None:
        raise ValueError(
            "Extrapolation is guided by one weight or along a line: --guidance takes one or two numbers there, and "
            "--guidance-power has no meaning."
        )
    return Linear(given[0], given[-1])


def extrapolation_of(arguments: argparse.Namespace, model) -> dict:
    """What `extrapolate` takes of the options of `add_extrapolation` and of `--guidance`."""
    from ..decoding.guidance import Linear, spatial_guidance

    weight = spatial_weight(arguments)
    return {
        "spatial": spatial_guidance(large_course(arguments), Linear(weight, weight)),
        "boundary": model.defaults.boundary if arguments.boundary is None else arguments.boundary,
        "drop_ratio": DROP_RATIO if arguments.drop_ratio is None else arguments.drop_ratio,
    }


def spatial_weight(arguments: argparse.Namespace) -> float:
    return SPATIAL_GUIDANCE if arguments.spatial_guidance is None else arguments.spatial_guidance


def device_of_model(model):
    return next(model.transformer.parameters()).device


def classes_of(given: Sequence[str], model) -> list[int]:
    """Class ids of what the user gave: ids, names, or 'all'; comma-separated or one by one."""
    from ..classes import resolve_class

    if list(given) == ["all"]:
        return list(range(len(model.class_names)))
    # Some names hold commas themselves: a whole argument is tried first.
    plain = {name.lower() for name in model.class_names}
    words = [word for text in given for word in ([text] if text.lower() in plain else text.split(","))]
    return [resolve_class(word, model.class_names) for word in words]
