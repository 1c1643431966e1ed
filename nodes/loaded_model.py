"""A model as ComfyUI holds it: its weights belong to a patcher, which loads them where and when there is room."""

import logging
from dataclasses import dataclass

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import torch

from ..randar_core.checkpoints.build import build
from ..randar_core.checkpoints.detect import Network
from ..randar_core.checkpoints.model import ModelCard, open_model
from ..randar_core.runtime.packed_linear import pack, packed_bytes
from ..randar_core.runtime.precision import Precision, precision_of
from .files import AUTO, existing_paths, file_names, path_of
from .host_memory import return_memory_of
from .vae import TokenizerVAE

# These layers cast nothing. With dynamic VRAM, where ComfyUI may take weights back while they are in use, a layer
# fetches its weights when it needs them.
OPERATIONS = comfy.ops.disable_weight_init
DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "int8": "int8"}


@dataclass(frozen=True, eq=False)
class LoadedModel(ModelCard):
    """What is known of a model, the patcher of its transformer and the VAE of its tokenizer."""

    patcher: comfy.model_patcher.ModelPatcher
    vae: TokenizerVAE

    @property
    def transformer(self):
        return self.patcher.model

    @property
    def device(self) -> torch.device:
        return self.patcher.load_device

    @property
    def grid(self) -> int:
        return self.transformer.config.grid

    @property
    def side(self) -> int:
        """Pixels along one side of the model's own picture."""
        return self.grid * self.vae.factor


def load_model(name: str, tokenizer: str, weight_dtype: str) -> LoadedModel:
    """The model of a name from `files.model_names`. Raises CheckpointError and FileNotFoundError, in a user's words."""
    chosen = None if tokenizer == AUTO else path_of(tokenizer)
    opened = open_model(path_of(name), chosen, search=existing_paths(file_names()))
    for note in opened.notes:
        logging.warning(note)
    transformer = transformer_patcher(opened.transformer, weight_dtype)
    return LoadedModel(opened.name, opened.class_names, opened.defaults, transformer, tokenizer_vae(opened.tokenizer))


def transformer_patcher(network: Network, weight_dtype: str) -> comfy.model_patcher.ModelPatcher:
    """The patcher of a transformer, packed where it runs on the CPU."""
    device = comfy.model_management.get_torch_device()
    offload_device = comfy.model_management.unet_offload_device()
    precision = precision_for(weight_dtype, device)
    transformer = build(network, offload_device, precision.dtype, OPERATIONS)
    if device.type == "cpu":  # the weights stay where they are
        pack(transformer, precision.bits)
    comfy.model_management.archive_model_dtypes(transformer)
    patcher = comfy.model_patcher.CoreModelPatcher(transformer, load_device=device, offload_device=offload_device)
    if packed := packed_bytes(transformer):  # ComfyUI counts parameters only
        patcher.size = patcher.model_size() + packed
        return_memory_of(transformer)
    return patcher


def tokenizer_vae(network: Network) -> TokenizerVAE:
    device, offload_device = comfy.model_management.vae_device(), comfy.model_management.vae_offload_device()
    tokenizer = build(network, offload_device, comfy.model_management.vae_dtype(device, [torch.float32]), OPERATIONS)
    if device.type == "cpu":  # encoding is a tenth faster, see benchmarks/speed
        tokenizer.to(memory_format=torch.channels_last)
    return TokenizerVAE(tokenizer)


def precision_for(choice: str, device: torch.device) -> Precision:
    """The chosen precision, or the best for the device: our core decides it for a CPU, ComfyUI for a GPU."""
    if choice == "default" and comfy.model_management.FORCE_FP32:
        return Precision(torch.float32)
    if choice == "int8" and device.type != "cpu":
        raise ValueError("weight_dtype int8 needs a ComfyUI that runs on the CPU (--cpu). Choose default here.")
    if choice != "default" or device.type == "cpu":
        return precision_of(DTYPES.get(choice, "auto"), device)
    if comfy.model_management.should_use_bf16(device):
        return Precision(torch.bfloat16)
    if comfy.model_management.should_use_fp16(device):
        return Precision(torch.float16)
    return Precision(torch.float32)
