"""In which dtype a device computes quickest."""

from __future__ import annotations

import platform

import torch


def computes_bfloat16(device: torch.device) -> bool:
    """Whether `device` has instructions for products in bfloat16; others emulate them, many times slower."""
    if device.type == "cpu":
        return cpu_computes_bfloat16()
    if device.type == "cuda":
        # All that ROCm runs on have them, of NVIDIA's those from Ampere on.
        return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)
    return True


def cpu_computes_bfloat16() -> bool:
    """Whether this processor has instructions for products in bfloat16, so that weights of half the size pay."""
    # Both questions are private: another torch may lack them. Older x86 processors pass the first, by converting.
    kernels = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    if platform.machine().lower() in ("x86_64", "amd64"):
        instructions = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        if instructions is None or not instructions():
            return False
    return kernels is not None and kernels()


def quick_dtype(device: torch.device) -> torch.dtype:
    """The quickest dtype with the range of float32: bfloat16 where `device` computes in it, else float32."""
    return torch.bfloat16 if computes_bfloat16(device) else torch.float32


def mixed_precision(device: torch.device) -> torch.autocast:
    """Within it, float32 weights are multiplied in `device`'s quick dtype."""
    return torch.autocast(device.type, torch.bfloat16, enabled=computes_bfloat16(device))
