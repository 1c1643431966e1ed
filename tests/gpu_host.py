"""A host of the nodes whose device is a feigned GPU: ComfyUI, or its stand-in where there is none.

Nothing of a host is asked for twice: what it must be told so that it believes in the GPU is patched here.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import torch
from feigned_gpu import DEVICE, FeignedGPU, is_gpu

CAPACITY = 2**33  # bytes of the GPU
REAL = bool(os.environ.get("NODE_TEST_HOST"))
# How a user may start ComfyUI, as options of its command line. The stand-in knows the last three.
ONLY_REAL = ("--lowvram", "--novram", "--disable-smart-memory")
STARTS = (*(ONLY_REAL if REAL else ()), "", "--gpu-only", "--cpu-vae")


@contextmanager
def host_on(gpu: FeignedGPU, start: str = "") -> Iterator[list[int]]:
    """Inside of it the host computes on `gpu`, as when it is started with the option `start`.

    What is free there is what the account of `gpu` has left of its limit. All models have left it at the end. Gives the
    bytes that are asked for next to weights, one entry for each time.
    """
    import comfy.model_management as management

    with ExitStack() as patches:
        for name, value in (real_host(gpu, start) if REAL else stand_in(gpu, start)).items():
            patches.enter_context(mock.patch.object(management, name, value))
        if REAL:
            from comfy.cli_args import args

            for option in ("--gpu-only", "--cpu-vae"):
                patches.enter_context(mock.patch.object(args, option[2:].replace("-", "_"), option == start))
        load, asked = management.load_models_gpu, []

        def load_models_gpu(models, memory_required=0, **more):
            asked.append(memory_required)
            return load(models, memory_required=memory_required, **more)

        patches.enter_context(mock.patch.object(management, "load_models_gpu", load_models_gpu))
        patches.enter_context(gpu)
        try:
            yield asked
        finally:
            gpu.memory.limit = gpu.memory.failing = None
            management.unload_all_models()


def free_on(gpu: FeignedGPU) -> int:
    return (CAPACITY if gpu.memory.limit is None else gpu.memory.limit) - gpu.live


def real_host(gpu: FeignedGPU, start: str) -> dict:
    """What ComfyUI's `model_management` asks of a GPU's driver, and what it derives from its command line."""
    import comfy.model_management as management

    own_free, own_total = management.get_free_memory, management.get_total_memory

    def get_free_memory(device=None, torch_free_too=False):
        if device is not None and not is_gpu(device):
            return own_free(device, torch_free_too)
        return (free_on(gpu), 0) if torch_free_too else free_on(gpu)

    def get_total_memory(device=None, torch_total_too=False):
        if device is not None and not is_gpu(device):
            return own_total(device, torch_total_too)
        return (CAPACITY, CAPACITY) if torch_total_too else CAPACITY

    states = {"--lowvram": "LOW_VRAM", "--novram": "NO_VRAM", "--gpu-only": "HIGH_VRAM"}
    return {
        "get_torch_device": lambda: torch.device(DEVICE),
        "get_free_memory": get_free_memory,
        "get_total_memory": get_total_memory,
        "vram_state": management.VRAMState[states.get(start, "NORMAL_VRAM")],
        "DISABLE_SMART_MEMORY": start == "--disable-smart-memory",
        "EXTRA_RESERVED_VRAM": 0,  # 400 MB would leave nothing of the small limits of the tests
        "minimum_inference_memory": lambda: 0,
    }


def stand_in(gpu: FeignedGPU, start: str) -> dict:
    """The same of the stand-in, which moves whole models."""
    card, cpu, loaded = torch.device(DEVICE), torch.device("cpu"), {}
    resting = card if start == "--gpu-only" else cpu
    tokenizers = cpu if start == "--cpu-vae" else card

    def load_models_gpu(patchers, memory_required=0, force_full_load=False):
        for patcher in patchers:
            # To move what is there already takes longer than most calls of the tiny models.
            if any(weight.device != patcher.load_device for weight in patcher.model.parameters()):
                patcher.model.to(patcher.load_device)
            loaded[id(patcher)] = patcher

    def unload_all_models():
        while loaded:
            _, patcher = loaded.popitem()
            patcher.model.to(patcher.offload_device)

    return {
        "get_torch_device": lambda: card,
        "unet_offload_device": lambda: resting,
        "intermediate_device": lambda: resting,
        "vae_device": lambda: tokenizers,
        "vae_offload_device": lambda: resting,
        "get_free_memory": lambda device: free_on(gpu),
        "load_models_gpu": load_models_gpu,
        "unload_all_models": unload_all_models,
    }
