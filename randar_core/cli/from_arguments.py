"""What the values of options turn into: devices, models, guidance, decoding options."""

import argparse
import hashlib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from ..checkpoints.model import Model, open_model
from ..decoding.guidance import UNGUIDED, Guidance, Linear
from ..decoding.options import WINDOWS_TOGETHER, DecodingOptions
from ..decoding.orders import Painted, order_named
from ..decoding.sampling import Sampling
from ..io.images import read_pixels
from ..runtime.packed_linear import pack
from ..runtime.precision import Precision, precision_of
from .arguments import DROP_RATIO, LARGE_GUIDANCE, SPATIAL_GUIDANCE


def device_of(name: str) -> torch.device:
    """The torch device named; 'auto' takes a GPU where there is one. ValueError for one that isn't there."""
    if name == "auto":
        return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"The device '{name}' can't be used here: {str(error).splitlines()[0]}") from error
    return device


def precision(arguments: argparse.Namespace, device: torch.device) -> Precision:
    """The precision that --dtype asks for on `device`."""
    return precision_of(arguments.dtype, device)


def load_model(arguments: argparse.Namespace, device: torch.device | None = None) -> Model:
    """The model that the options name, in their precision, on `device` or theirs."""
    device = device or device_of(arguments.device)
    asked = precision(arguments, device)
    opened = open_model(arguments.model, arguments.tokenizer)
    for note in opened.notes:
        print(f"randar: {note}", file=sys.stderr)
    model = opened.build(device, asked.dtype)
    pack(model.transformer, asked.bits)
    if device.type == "cpu":  # a tenth faster at encoding, see benchmarks/speed
        model.tokenizer.to(memory_format=torch.channels_last)
    return model


def device_of_model(model: Model) -> torch.device:
    return next(model.transformer.parameters()).device


def digest_of(paths: Iterable[Path]) -> str:
    """A hash of what is in the files: their names alone don't say which weights or painting a picture came from."""
    digest = hashlib.blake2b(digest_size=8)
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(2**24):
                digest.update(block)
    return digest.hexdigest()


def guidance_of(arguments: argparse.Namespace, model: Model) -> Guidance:
    """The guidance of the options; what they leave open is the model's own."""
    weights: Sequence[float] = arguments.guidance or ()
    if len(weights) > 2:
        raise ValueError(
            f"--guidance takes one or two numbers, the weight at the end or at start and end; got {weights}."
        )
    start, end = (None, *weights)[-2:] if weights else (None, None)
    return model.guidance(end, start, arguments.guidance_power)


def decoding_of(arguments: argparse.Namespace, model: Model, guidance: Guidance | None = None) -> DecodingOptions:
    """How a task decodes: what the options of `add_drawing` say, and where they are silent the model's defaults.

    A `guidance` replaces that of the options.
    """
    temperature = model.defaults.temperature if arguments.temperature is None else arguments.temperature
    if arguments.painted_order is not None:
        order = Painted(read_pixels(arguments.painted_order).mean((0, 1)))
    else:
        own = model.defaults.repulsion if arguments.order is None else None
        repulsion = own if arguments.repulsion is None else arguments.repulsion
        order = order_named(arguments.order or model.defaults.order, repulsion)
    return DecodingOptions(
        guidance=guidance_of(arguments, model) if guidance is None else guidance,
        steps=model.defaults.steps if arguments.steps is None else arguments.steps,
        seed=arguments.seed,
        sampling=Sampling(temperature, arguments.top_k, arguments.top_p),
        order=order,
        schedule=arguments.schedule,
        batch_size=WINDOWS_TOGETHER,
    )


def scoring_of(arguments: argparse.Namespace, model: Model) -> DecodingOptions:
    """How a picture is scored: what the options of `add_scoring` say, without guidance unless they ask for it."""
    guided = arguments.guidance is not None or arguments.guidance_power is not None
    return DecodingOptions(
        guidance=guidance_of(arguments, model) if guided else UNGUIDED,
        steps=1,
        seed=arguments.seed,
        batch_size=WINDOWS_TOGETHER,
    )


def large_decoding_of(arguments: argparse.Namespace, model: Model) -> DecodingOptions:
    """How an extrapolation decodes: as `decoding_of` says, all of it under the guidance of `large_guidance`."""
    return decoding_of(arguments, model, large_guidance(arguments))


def large_guidance(arguments: argparse.Namespace) -> Guidance:
    """The guidance of an extrapolation, its low-resolution picture included: one weight holds throughout.

    ValueError for a schedule that it doesn't have.
    """
    weights = arguments.guidance or [LARGE_GUIDANCE]
    if len(weights) > 2 or arguments.guidance_power is not None:
        raise ValueError(
            "Extrapolation is guided by one weight or along a line: --guidance takes one or two numbers there, and "
            "--guidance-power has no meaning."
        )
    spatial = spatial_weight(arguments)
    return Guidance(Linear(weights[0], weights[-1]), spatial=Linear(spatial, spatial))


def extrapolation_of(arguments: argparse.Namespace, model: Model) -> dict:
    """The arguments of `extrapolate` that the options of `add_extrapolation` give."""
    return {
        "factor": arguments.factor,
        "boundary": model.defaults.boundary if arguments.boundary is None else arguments.boundary,
        "drop_ratio": DROP_RATIO if arguments.drop_ratio is None else arguments.drop_ratio,
    }


def spatial_weight(arguments: argparse.Namespace) -> float:
    return SPATIAL_GUIDANCE if arguments.spatial_guidance is None else arguments.spatial_guidance
