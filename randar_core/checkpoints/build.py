"""Building networks from the weights that were detected in a file."""

import torch
from torch import nn

from ..models import layers
from .detect import Network
from .weights import CheckpointError

# What weights may be stored in. Eight bits are left out: they come with scales of their own.
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def build(network: Network, device="cpu", dtype: torch.dtype | None = None, operations=layers) -> nn.Module:
    """The network with its weights, for inference, in `dtype` or the file's own.

    Every weight is copied, one tensor after the other, so that nothing of the file stays mapped: a file that is written
    over later can't change a model that is in use. Raises CheckpointError for weights that don't fit, that are of
    another kind or not finite, and for a file that changed while it was read.
    """
    if network.mismatch:
        what = f"the {network.family.name} {network.family.role} it describes"
        if network.release:
            what = network.release.name
        raise CheckpointError(f"'{network.path}' doesn't fit {what}. {network.mismatch}.")
    dtype = dtype or network.dtype
    built = network.family.network(network.config, device="meta", dtype=dtype, operations=operations)
    weights = {}
    for key, tensor in network.tensors.items():
        if tensor.dtype not in DTYPES:
            known = ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES)
            raise CheckpointError(f"In '{network.path}', {key} holds {tensor.dtype}; expected one of {known}.")
        # The extremes tell without a copy: both are NaN if any weight is, and infinite if any weight is.
        if not all(extreme.isfinite() for extreme in torch.aminmax(tensor)):
            raise CheckpointError(
                f"In '{network.path}', {key} holds NaN or infinite weights: the file is damaged or its training failed."
            )
        weights[key] = tensor.to(device=device, dtype=dtype, copy=True)
    for version in network.versions:
        version.check()
    built.load_state_dict(weights, assign=True)
    return built.eval().requires_grad_(False)
