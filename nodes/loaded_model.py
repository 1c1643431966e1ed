"""A model as ComfyUI holds it: its weights belong to a patcher, which loads them where and when there is room."""

import logging

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import torch

from ..randar_core.checkpoints.build import build
from ..randar_core.checkpoints.model import Model, open_model
from ..randar_core.runtime.packed_linear import pack, packed_bytes
from ..randar_core.runtime.precision import Precision, precision_of
from .files import AUTO, existing_paths, file_names, path_of
from .host_memory import return_memory_of
from .vae import TokenizerVAE

DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "int8": "int8"}


class LoadedModel:
    """A transformer with its class names, its defaults and the VAE of its tokenizer."""

    def __init__(self, model: Model, vae: TokenizerVAE):
        self.vae = vae
        self.name = model.name
        self.class_names = model.class_names
        self.defaults = model.defaults
        self.guidance_for = model.guidance
        self.patcher = comfy.model_patcher.CoreModelPatcher(
            model.transformer,
            load_device=comfy.model_management.get_torch_device(),
            offload_device=comfy.model_management.unet_offload_device(),
        )
        if packed := packed_bytes(model.transformer):  # ComfyUI counts parameters only
            self.patcher.size = self.patcher.model_size() + packed
            return_memory_of(model.transformer)

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
    # These layers cast nothing. With dynamic VRAM, where ComfyUI may take weights back while they are in use, a layer
    # fetches its weights when it needs them.
    operations = comfy.ops.disable_weight_init
    device = comfy.model_management.get_torch_device()
    precision = precision_for(weight_dtype, device)
    network = build(opened.transformer, comfy.model_management.unet_offload_device(), precision.dtype, operations)
    if device.type == "cpu":  # the weights stay where they are
        pack(network, precision.bits)
    comfy.model_management.archive_model_dtypes(network)
    vae_dtype = comfy.model_management.vae_dtype(comfy.model_management.vae_device(), [torch.float32])
    vae = TokenizerVAE(build(opened.tokenizer, comfy.model_management.vae_offload_device(), vae_dtype, operations))
    if comfy.model_management.vae_device().type == "cpu":  # encoding is a tenth faster, see benchmarks/speed
        vae.first_stage_model.to(memory_format=torch.channels_last)
    model = Model(opened.name, network, vae.first_stage_model, opened.class_names, opened.defaults, opened.files)
    return LoadedModel(model, vae)


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
