"""A feigned GPU: tensors that say they lie on `card:0`, with the arithmetic on the CPU.

It finds what goes wrong on a GPU apart from speed: tensors of two devices that meet, a host that waits for the device
in every call, memory that is never freed or asked for wrongly, a lack of memory at any allocation. Device checks are
those of CUDA: tensors of two devices don't mix, CPU tensors without dimensions may, and indices may come from the CPU.
`is_cuda` is true, so that code for CUDA runs, unless the GPU is one without float64, as Apple's are.

torch allows one such backend in a process, and it can't be removed again. Call `install` in a process that runs nothing
else:

    install()
    with FeignedGPU() as gpu:
        model.to(DEVICE)
        ...
    gpu.reads, gpu.uploads, gpu.downloads, gpu.live, gpu.peak

What it can't show: kernels of GPUs (rounding, alignment, launches), and what a kernel allocates within itself.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from feigned_memory import NAME, Memory, Transfer, transfer_of
from feigned_operators import ATTENTION, Traits, traits_of
from torch import Tensor, nn
from torch._library import simple_registry
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = f"{NAME}:0"
SECOND_DEVICE = f"{NAME}:1"
CPU = torch.device("cpu")

WITHOUT_TENSORS = {int, float, bool, str, type(None), torch.dtype, torch.layout}


class GPUModule(backend_registration._DummyBackendModule):
    """What torch asks of a backend, as `torch.card`."""

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def device_count(self) -> int:
        return 2

    def current_device(self) -> int:
        return 0

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float32, torch.float16, torch.bfloat16]


def install() -> None:
    """Make `card` a device of this process, for good."""
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=GPUModule())
    # `Module.to` otherwise swaps the data of a parameter, which a wrapper doesn't allow.
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    # torch looks for one before each function. There is none, and the search takes as long as many a function.
    simple_registry.find_torch_dispatch_rule = lambda function, mode: None
    # It copies its data below the dispatcher, where no mode sees it.
    from_data = torch.tensor

    def tensor(data, *, device=None, **more) -> Tensor:
        made = from_data(data, device=CPU if is_gpu(device) else device, **more)
        return made.to(device) if is_gpu(device) else made

    torch.tensor = tensor
    F.scaled_dot_product_attention = fused(F.scaled_dot_product_attention)


def fused(attention: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Attention in one kernel, as GPUs have it: it holds no scores. Otherwise torch takes it apart for `card`."""

    def attend(query, *more, **named) -> Tensor:
        if not isinstance(query, GPUTensor):
            return attention(query, *more, **named)
        on_gpu, on_cpu = [], []
        inner = inner_of((query, *more), on_gpu, on_cpu)
        inner_named = {name: inner_of(value, on_gpu, on_cpu) for name, value in named.items()}
        query.gpu.check_devices(ATTENTION, (query,), on_gpu, on_cpu)
        return GPUTensor(attention(*inner, **inner_named), query.gpu, query.card)

    return attend


class GPUTensor(Tensor):
    """A tensor of the feigned GPU around the CPU tensor `inner` that holds its values."""

    is_cuda = property(lambda self: self.gpu.is_cuda)
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor, gpu: "FeignedGPU", index: int = 0):
        share = gpu.memories[index].share(inner)
        wrapper = Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            inner.stride(),
            inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=gpu.devices[index],
        )
        wrapper.inner, wrapper.gpu, wrapper.share, wrapper.card = inner, gpu, share, index
        return wrapper

    def __repr__(self) -> str:
        return f"GPUTensor({list(self.shape)}, {self.dtype}, {self.device})"

    def __deepcopy__(self, memo):
        return memo.setdefault(id(self), self.detach().clone())

    def tolist(self):
        self.gpu.reads.append("tolist")
        return self.inner.tolist()

    def numpy(self, **_):
        raise TypeError(f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() first.")

    def __array__(self, *_):
        return self.numpy()

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        raise RuntimeError(f"{function} was called on a tensor of the feigned GPU outside of `with FeignedGPU()`.")


class FeignedGPU(TorchDispatchMode):
    """While it is entered, tensors can be made on `DEVICE` and `SECOND_DEVICE`.

    lacks: dtypes that the GPU can't hold. One without float64 isn't CUDA's.

    reads: the operators that made the host wait for a result, in their order.
    uploads, downloads: the copies from the CPU and to it. Those from it wait as well where the memory isn't pinned.
    memories: the account of each GPU.
    """

    def __init__(self, lacks: Sequence[torch.dtype] = ()):
        super().__init__()
        self.lacks, self.is_cuda = frozenset(lacks), torch.float64 not in lacks
        self.reads: list[str] = []
        self.uploads: list[Transfer] = []
        self.downloads: list[Transfer] = []
        self.memories = [Memory(), Memory()]
        self.devices = [torch.device(DEVICE), torch.device(SECOND_DEVICE)]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and the check costs a tenth of the time

    @property
    def memory(self) -> Memory:
        """That of the first GPU."""
        return self.memories[0]

    @property
    def live(self) -> int:
        return self.memory.live

    @property
    def peak(self) -> int:
        return self.memory.peak

    def forget(self) -> None:
        """Begin to record again, from what lies on the GPUs now."""
        for record in (self.reads, self.uploads, self.downloads):
            record.clear()
        for memory in self.memories:
            memory.peak, memory.peaks, memory.allocations = memory.live, [], 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        """What `function` of torch gives for tensors of the GPU, by the same function on the CPU.

        A run of tiny models is hundreds of thousands of these calls: most of its time passes here.
        """
        on_gpu, on_cpu, inner_args, made_here = [], [], [], False
        for value in args:
            kind = type(value)
            if kind is GPUTensor:
                on_gpu.append(value)
                value = value.inner
            elif kind is torch.device:
                made_here = made_here or value.type == NAME
            elif kind not in WITHOUT_TENSORS:
                value = inner_of(value, on_gpu, on_cpu)
            inner_args.append(value)
        inner_kwargs, device, to_gpu = {}, None, False
        if kwargs:
            inner_kwargs = {name: inner_of(value, on_gpu, on_cpu) for name, value in kwargs.items()}
            device = kwargs.get("device")
            to_gpu = is_gpu(device)
        if not (on_gpu or to_gpu or made_here):
            return function._op(*args, **inner_kwargs)
        traits = traits_of(function)
        if traits.composite and not (traits.whole and args[0].is_contiguous()):
            # In C++, as a GPU has it: `decompose` prefers Python's, which computes in float32 what the GPU doesn't.
            # Entered without what `with self` tells Dynamo: it would take longer than the function.
            torch._C._push_on_torch_dispatch_stack(self)
            try:
                return function._op_dk(torch._C.DispatchKey.CompositeImplicitAutograd, *args, **(kwargs or {}))
            finally:
                torch._C._pop_torch_dispatch_stack(None)
        if traits.copies:
            self.note_copy(traits.name, args, device)
        elif on_gpu and (on_cpu or len(on_gpu) > 1 or traits.indexed):
            self.check_devices(traits, args, on_gpu, on_cpu)
        if traits.read:
            self.reads.append(traits.name)
        if to_gpu:
            inner_kwargs["device"] = CPU
        result = function._op(*inner_args, **inner_kwargs)
        if traits.mutates and any(tensor.shape != tensor.inner.shape for tensor in on_gpu):
            raise NotImplementedError(f"{traits.name} changes the shape of its input: the feigned GPU can't follow.")

        if device is None:
            index = on_gpu[0].card
        else:
            index = (device.index or 0) if to_gpu else None
        return self.outer_of(result, on_gpu, on_cpu, index)

    def outer_of(self, value, on_gpu: list[Tensor], on_cpu: list[Tensor], index: int | None):
        """`value` with the tensors in it on the GPU of that index; the lists are those that were there before."""
        if not isinstance(value, Tensor):
            if isinstance(value, (list, tuple)):
                return [self.outer_of(each, on_gpu, on_cpu, index) for each in value]
            return value
        # A function in place returns its input.
        for tensor in on_gpu:
            if tensor.inner is value:
                return tensor
        for tensor in on_cpu:
            if tensor is value:
                return tensor
        if index is None:
            return value
        if value.dtype in self.lacks:
            raise TypeError(f"Cannot convert a tensor to {value.dtype}: {NAME} doesn't support it.")
        return GPUTensor(value, self, index)

    def note_copy(self, operator: str, args: tuple, device) -> None:
        target_on_gpu = isinstance(args[0], GPUTensor)
        source = args[1] if operator == "aten::copy_" else args[0]
        if operator == "aten::_to_copy":
            target_on_gpu = target_on_gpu if device is None else is_gpu(device)
        if isinstance(source, GPUTensor) and not target_on_gpu:
            self.reads.append(operator)
            self.downloads.append(transfer_of(operator, source))
        if target_on_gpu and not isinstance(source, GPUTensor):
            self.uploads.append(transfer_of(operator, source))

    def check_devices(self, traits: Traits, args: tuple, on_gpu: list[Tensor], on_cpu: list[Tensor]) -> None:
        """RuntimeError where tensors of two devices meet, as CUDA raises it."""
        operator, indices = traits.name, []
        if traits.indexed and isinstance(args[0], GPUTensor):
            indices = [index for index in args[1] if index is not None]
            if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
                self.reads.append(f"{operator} by a mask")
        card = on_gpu[0].card
        others = [tensor for tensor in on_gpu if tensor.card != card]
        for tensor in on_cpu:
            if any(tensor is index for index in indices):
                self.uploads.append(transfer_of(operator, tensor))
            elif tensor.ndim:
                others.append(tensor)
        for tensor in others:
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found at least two devices, {on_gpu[0].device} "
                f"and {tensor.device}! ({operator}: {list(tensor.shape)}, {tensor.dtype})"
            )


def is_gpu(device) -> bool:
    return device is not None and (device if type(device) is torch.device else torch.device(device)).type == NAME


def bytes_on_gpu(networks: Iterable[nn.Module]) -> int:
    """Bytes of the weights of `networks` that lie on the GPU."""
    weights = (weight for network in networks for weight in network.parameters() if isinstance(weight, GPUTensor))
    storages = {weight.inner.untyped_storage()._cdata: weight.inner.untyped_storage().nbytes() for weight in weights}
    return sum(storages.values())


def inner_of(value, on_gpu: list[Tensor], on_cpu: list[Tensor]):
    """`value` with the CPU's tensors in place of the GPU's; the tensors found are added to the two lists.

    A function of the module: one that refers to itself from within another keeps its tensors alive.
    """
    kind = type(value)
    if kind in WITHOUT_TENSORS:
        return value
    if kind is GPUTensor:
        on_gpu.append(value)
        return value.inner
    if kind is list or kind is tuple:
        return value if value and type(value[0]) is int else [inner_of(each, on_gpu, on_cpu) for each in value]
    if isinstance(value, Tensor):
        on_cpu.append(value)
    return value
