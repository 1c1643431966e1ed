"""What the pictures of `randar generate` say of themselves: enough to draw them again."""

import argparse

from ..checkpoints.model import Model
from ..decoding.options import DecodingOptions
from . import arguments as options
from .from_arguments import device_of_model, digest_of, extrapolation_of, precision, spatial_weight
from .requests import condition_metadata


def metadata_of(arguments: argparse.Namespace, model: Model, decoding: DecodingOptions) -> dict:
    """What every picture carries next to its class and its index, enough to draw it again."""
    defaults, large = model.defaults, arguments.factor is not None
    # The line from a start to an end has no power.
    default_power = None if large or len(arguments.guidance or ()) == 2 else defaults.guidance_power
    return {
        "model": model.name,
        "weights": digest_of(model.files),
        "seed": arguments.seed,
        "width": arguments.width,
        "height": arguments.height,
        "overlap": arguments.overlap,
        # A family that draws one token a call has one number of steps.
        "steps": decoding.steps if model.transformer.traits.parallel else model.transformer.config.grid**2,
        "guidance": arguments.guidance or [options.LARGE_GUIDANCE if large else defaults.guidance],
        "guidance_power": default_power if arguments.guidance_power is None else arguments.guidance_power,
        "temperature": decoding.sampling.temperature,
        "top_k": arguments.top_k,
        "top_p": arguments.top_p,
        "order": arguments.order or defaults.order if arguments.painted_order is None else "painted",
        **further_metadata(arguments, model),
        "dtype": str(precision(arguments, device_of_model(model))),
    }


def further_metadata(arguments: argparse.Namespace, model: Model) -> dict:
    """Metadata that most pictures don't need."""
    metadata = condition_metadata(arguments)
    if arguments.sweep:
        metadata |= {"sweep": arguments.sweep, "count": arguments.count, "first": arguments.first}
    if arguments.truncate:
        metadata["truncated"] = True
    if arguments.dtype == "int8":  # a picture depends on the others of its batch there
        metadata["batch"] = arguments.batch
    if arguments.schedule is not None:
        metadata["schedule"] = arguments.schedule
    if arguments.repulsion is not None:
        metadata["repulsion"] = arguments.repulsion
    if arguments.painted_order is not None:
        metadata["painting"] = digest_of([arguments.painted_order])
    if arguments.factor is not None:
        metadata |= extrapolation_of(arguments, model) | {"spatial_guidance": spatial_weight(arguments)}
    return metadata
