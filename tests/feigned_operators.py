"""What the feigned GPU knows of torch's functions, see `feigned_gpu`."""

from dataclasses import dataclass
from functools import cache

import torch

# Operators whose result the host needs: a value, or the size of the result.
READS = {
    "aten::_local_scalar_dense",
    "aten::_unique2",
    "aten::bincount",
    "aten::equal",
    "aten::is_nonzero",
    "aten::masked_select",
    "aten::nonzero",
    "aten::repeat_interleave.Tensor",
    "aten::unique_consecutive",
    "aten::unique_dim",
}


@dataclass(frozen=True)
class Traits:
    """What counts of a function of torch.

    composite: it is made of others. In inference mode torch doesn't take it apart before a mode sees it.
    read: the host needs its result.
    mutates: it changes an input.
    """

    name: str
    composite: bool
    read: bool
    mutates: bool


@cache
def traits_of(function) -> Traits:
    schema = function._schema
    return Traits(
        schema.name,
        torch._C._dispatch_has_kernel_for_dispatch_key(function.name(), "CompositeImplicitAutograd"),
        schema.name in READS or f"{schema.name}.{function._overloadname}" in READS,
        schema.is_mutable,
    )
