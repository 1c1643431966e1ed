"""What the feigned GPU knows of torch's functions, see `feigned_gpu`."""

from dataclasses import dataclass

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
COPIES = {"aten::_to_copy", "aten::copy_"}
INDEXED = {"aten::index", "aten::_unsafe_index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}

# Composite functions that take no memory beside their result where their input is contiguous, or no more than a number
# for each row: norms are one kernel on a GPU (before torch 2.9 that of the root mean square copies its input). To take
# them apart shows nothing, and a product of inference mode is seven functions then.
WHOLE = {
    "aten::chunk",
    "aten::conv2d",
    "aten::expand_as",
    "aten::flatten",
    "aten::group_norm",
    "aten::layer_norm",
    "aten::linear",
    "aten::narrow",
    "aten::pad",
    "aten::reshape",
    "aten::rms_norm",
    "aten::softmax",
    "aten::unflatten",
}


@dataclass(frozen=True, slots=True)
class Traits:
    """What counts of a function of torch.

    composite: it is made of others. In inference mode torch doesn't take it apart before a mode sees it.
    whole: a composite one that needn't be taken apart where its first input is contiguous.
    read: the host needs its result.
    mutates: it changes an input.
    copies: it may move a tensor from one device to another.
    indexed: its second argument is a list of indices.
    """

    name: str
    composite: bool
    whole: bool
    read: bool
    mutates: bool
    copies: bool
    indexed: bool


ATTENTION = Traits("attention", *[False] * 6)
TRAITS: dict[int, Traits] = {}  # by the addresses of functions, which live as long as the process; to hash one is slow


def traits_of(function) -> Traits:
    traits = TRAITS.get(id(function))
    if traits is None:
        schema = function._schema
        traits = TRAITS[id(function)] = Traits(
            schema.name,
            torch._C._dispatch_has_kernel_for_dispatch_key(function.name(), "CompositeImplicitAutograd"),
            schema.name in WHOLE,
            schema.name in READS or f"{schema.name}.{function._overloadname}" in READS,
            schema.is_mutable,
            schema.name in COPIES,
            schema.name in INDEXED,
        )
    return traits
