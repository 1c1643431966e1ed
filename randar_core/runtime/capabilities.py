"""What a device can compute: its quickest dtype, and in which forms it can read the weights of linear layers."""

import platform
from pathlib import Path

import torch
from torch import Tensor

CPU_INFO = Path("/proc/cpuinfo")

PACKED_BITS = ("float16", "int8")  # what float32 weights can be packed in


def bfloat16_is_quick(device: torch.device) -> bool:
    """Whether `device` multiplies in bfloat16 more quickly than in float32."""
    if device.type == "cpu":
        return bfloat16_is_quick_on_cpu()
    if device.type == "cuda":
        # Every GPU that ROCm supports has them; NVIDIA's have them since Ampere.
        return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)
    return True


def bfloat16_is_quick_on_cpu() -> bool:
    """Whether this CPU multiplies in bfloat16 more quickly than in float32.

    Intel's cores need AMX for that, which a virtual machine may hide. By AVX-512's instruction alone they are slower: a
    core of Sapphire Rapids has 140 GFLOP/s in float32 and 80 in bfloat16 (benchmarks/results/bfloat16.md). AMD's need
    that instruction. Of an unknown maker the answer is no: float32 is quick everywhere.
    """
    if not has_bfloat16_kernels():
        return False
    return not on_x86() or has("_is_amx_tile_supported") or made_by_amd()


def has_bfloat16_kernels() -> bool:
    """Whether this CPU has instructions for products in bfloat16, and this torch kernels with them."""
    # The function is private: another torch may lack it. Older x86 CPUs pass it, by converting.
    kernels = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return kernels is not None and kernels() and (not on_x86() or has("_is_avx512_bf16_supported"))


def on_x86() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64")


def has(capability: str) -> bool:
    """What `torch.cpu` answers to one of its private questions; False where this torch doesn't know it."""
    ask = getattr(torch.cpu, capability, None)
    return ask is not None and bool(ask())


def made_by_amd() -> bool:
    """Whether this x86 CPU says that AMD made it."""
    try:
        told = CPU_INFO.read_text(encoding="utf-8", errors="replace")  # Linux, where `platform` names no maker
    except OSError:
        told = platform.processor()
    return "AuthenticAMD" in told


def quick_dtype(device: torch.device) -> torch.dtype:
    """The quickest dtype with the range of float32: bfloat16 where `device` computes in it, otherwise float32."""
    return torch.bfloat16 if bfloat16_is_quick(device) else torch.float32


def mixed_precision(device: torch.device) -> torch.autocast:
    """A context in which float32 weights are multiplied in the quick dtype of `device`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=bfloat16_is_quick(device))


def can_pack(weight: Tensor) -> bool:
    """Whether this CPU and this torch have packed kernels for weights like `weight`, in their own dtype."""
    # Private operators, which torch's own compiler uses: another torch may lack them.
    names = ("_reorder_linear_weight", "_linear_pointwise")
    if weight.device.type != "cpu" or not all(hasattr(torch.ops.mkldnn, name) for name in names):
        return False
    return weight.dtype == torch.float32 or (weight.dtype == torch.bfloat16 and has_bfloat16_kernels())


def can_pack_in(bits: str) -> bool:
    """Whether this CPU and this torch have kernels for float32 layers with weights in `bits`, one of PACKED_BITS."""
    # They belong to a part of torch that is deprecated.
    names = {
        "float16": ("linear_prepack_fp16", "linear_dynamic_fp16"),
        "int8": ("linear_prepack", "linear_dynamic"),
    }[bits]
    if not all(hasattr(torch.ops.quantized, name) for name in names):
        return False
    if bits == "int8" and not hasattr(torch.cpu, "_is_vnni_supported"):
        return False
    return torch.backends.quantized.engine in ("x86", "fbgemm")
