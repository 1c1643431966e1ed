"""What a pickle of `torch.save` may name. Nothing is imported for it: every name leads to a record or function here."""

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import torch

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}


class PickleError(ValueError):
    """Why a pickle can't be read, as the end of a sentence that begins with the file's name."""


class TensorRecord(NamedTuple):
    """A tensor as the pickle describes it; no value can be trusted."""

    storage: object
    offset: object
    shape: object
    strides: object
    dtype: object = None


class OtherTensor(NamedTuple):
    """A tensor that is not dense memory. `kind` says what it is."""

    kind: str


class Items(OrderedDict):
    """An OrderedDict that keeps its methods, whatever attributes the pickle sets on it."""

    def __setstate__(self, state: object) -> None:
        pass


class Ignored:
    """An object of a training next to its weights: arguments, numbers and random states of NumPy, paths."""

    def __init__(self, *_, **__):
        pass

    def __setstate__(self, state: object) -> None:
        pass


class Function:
    """A function that a pickle may call and can't change: pickles can set attributes of what they name."""

    __slots__ = ("call",)

    def __init__(self, call: Callable):
        self.call = call

    def __call__(self, *arguments, **named) -> object:
        return self.call(*arguments, **named)

    def __setstate__(self, state: object) -> None:
        raise PickleError("is damaged, or made to do harm: it sets the state of a function. Nothing of it was run")


@Function
def plain_tensor(storage, offset, shape, strides, *_) -> TensorRecord:
    return TensorRecord(storage, offset, shape, strides)


@Function
def tensor_with_dtype(storage, offset, shape, strides, requires_grad=None, hooks=None, dtype=None, *_) -> TensorRecord:
    return TensorRecord(storage, offset, shape, strides, dtype)


@Function
def parameter(data, *_) -> object:
    return data


@Function
def with_attributes(rebuild, cls=None, arguments=(), state=None) -> object:
    if rebuild not in REBUILD.values():
        raise PickleError("describes a tensor in a way that is not known")
    return rebuild(*arguments)


@Function
def text_bytes(text: str, encoding: str = "latin1") -> bytes:
    """How protocol 2 writes bytes."""
    return text.encode("latin1")


def other(kind: str) -> Function:
    return Function(lambda *_, **__: OtherTensor(kind))


IGNORED = (
    ("argparse", "Namespace"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *((f"{room}.multiarray", name) for room in ("numpy.core", "numpy._core") for name in ("scalar", "_reconstruct")),
    *((f"{room}.numeric", "_frombuffer") for room in ("numpy.core", "numpy._core")),
    *(("pathlib", name) for name in ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")),
)
REBUILD: dict[str, Function] = {
    "_rebuild_tensor": plain_tensor,
    "_rebuild_tensor_v2": plain_tensor,
    "_rebuild_tensor_v3": tensor_with_dtype,
    "_rebuild_parameter": parameter,
    "_rebuild_parameter_with_state": parameter,
    "_rebuild_qtensor": other("quantised"),
    "_rebuild_sparse_tensor": other("sparse"),
    "_rebuild_nested_tensor": other("nested"),
    "_rebuild_meta_tensor_no_storage": other("meta"),
    "_rebuild_wrapper_subclass": other("wrapper"),
    "_rebuild_device_tensor_from_numpy": other("numpy"),
    "_rebuild_device_tensor_from_cpu_tensor": parameter,
}
NAMES: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): Items,
    **{name: Ignored for name in IGNORED},
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("_codecs", "encode"): text_bytes,
    ("torch", "Size"): tuple,
    ("torch", "Tensor"): "Tensor",
    ("torch", "device"): other("device"),
    ("torch.nn.parameter", "Parameter"): "Parameter",
    ("torch._tensor", "_rebuild_from_type_v2"): with_attributes,
    ("torch.serialization", "_get_layout"): other("layout"),
    **{("torch._utils", name): function for name, function in REBUILD.items()},
    **{(room, name): dtype for name, dtype in STORAGES.items() for room in ("torch", "torch.cuda", "torch.storage")},
    **{("torch", str(dtype).removeprefix("torch.")): dtype for dtype in STORAGES.values()},
    **{("torch", f"float8_{kind}"): getattr(torch, f"float8_{kind}") for kind in ("e4m3fn", "e5m2")},
    **{("torch", f"uint{bits}"): getattr(torch, f"uint{bits}") for bits in (16, 32, 64)},
}


def is_tensor(value: object) -> bool:
    return isinstance(value, TensorRecord | OtherTensor)
