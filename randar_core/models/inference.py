"""The quickest form of a decoder for drawing, on the device where it lies."""

from torch import nn

from .graphs import GraphedRandAR
from .packing import pack
from .randar import RandAR


def for_inference(model: nn.Module):
    """`model` with packed layers on the CPU, through CUDA graphs on a graphics card, as it is elsewhere.

    It can't be moved, trained or saved any more. RAR, which draws a token a call, is not graphed.
    """
    device = next(model.parameters()).device
    if device.type == "cuda" and isinstance(model, RandAR):
        return GraphedRandAR(model)
    return pack(model)
