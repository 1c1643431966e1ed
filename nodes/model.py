"""A decoder as ComfyUI holds it: its weights belong to a patcher, which loads them where and when there is room."""

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import torch

from ..randar_core.checkpoints.bundle import (
    Model,
    build,
    check_pair,
    class_names_of,
    defaults_of,
    name_of,
)
from ..randar_core.checkpoints.detect import recognise
from ..randar_core.checkpoints.weights import CheckpointError, read
from ..randar_core.runtime.packed_linear import Precision, pack, packed_bytes, precision_of
from .files import path_of, tokenizer_path
from .memory import return_memory_of
from .vae import TokenizerVAE

DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "int8": "int8"}


class RandARModel:
    """A decoder with all that goes with it: class names, defaults, and the VAE of its tokenizer."""

    def __init__(self, model: Model, vae: TokenizerVAE):
        self.vae = vae
        self.name = model.name
        self.class_names = model.class_names
        self.defaults = model.defaults
        self.course_to = model.guidance
        self.patcher = comfy.model_patcher.CoreModelPatcher(
            model.decoder,
            load_device=comfy.model_management.get_torch_device(),
            offload_device=comfy.model_management.unet_offload_device(),
        )
        if packed := packed_bytes(model.decoder):  # the host counts parameters alone
            self.patcher.size = self.patcher.model_size() + packed
            return_memory_of(model.decoder)

    @property
    def decoder(self):
        return self.patcher.model

    @property
    def device(self) -> torch.device:
        return self.patcher.load_device

    @property
    def grid(self) -> int:
        return self.decoder.config.grid

    @property
    def side(self) -> int:
        """Pixels along one side of the model's own picture."""
        return self.grid * self.vae.factor


def load_model(name: str, tokenizer: str, weight_dtype: str) -> RandARModel:
    """The model of a name from `files.model_names`.

    Raises CheckpointError and FileNotFoundError in a user's words.
    """
    path = path_of(name)
    contents = recognise(read(path))
    if contents.decoder is None:
        raise CheckpointError(
            f"'{name}' is a tokenizer, not a model. Choose the decoder's file as `model_name`; "
            "the tokenizer is found by itself."
        )
    decoder, other_file = contents.decoder, tokenizer_path(contents, tokenizer)
    tokenizer_part = contents.tokenizer if other_file is None else recognise(read(other_file)).tokenizer
    if tokenizer_part is None:
        raise CheckpointError(f"'{tokenizer}' holds no tokenizer. Choose another file as `tokenizer`, or 'auto'.")
    check_pair(decoder, tokenizer_part)
    # Nothing is cast on the way, but where the host may take weights back while they are used, and fetches each as it
    # comes (dynamic VRAM).
    operations = comfy.ops.disable_weight_init
    device = comfy.model_management.get_torch_device()
    precision = precision_for(weight_dtype, device)
    network = build(decoder, comfy.model_management.unet_offload_device(), precision.dtype, operations)
    if device.type == "cpu":  # the weights stay where they are
        pack(network, precision.bits)
    comfy.model_management.archive_model_dtypes(network)
    vae_dtype = comfy.model_management.vae_dtype(comfy.model_management.vae_device(), [torch.float32])
    vae = TokenizerVAE(build(tokenizer_part, comfy.model_management.vae_offload_device(), vae_dtype, operations))
    if comfy.model_management.vae_device().type == "cpu":  # where encoding is a tenth faster so, see benchmarks/speed
        vae.first_stage_model.to(memory_format=torch.channels_last)
    model = Model(name_of(contents), network, vae.first_stage_model, class_names_of(contents), defaults_of(contents))
    return RandARModel(model, vae)


def precision_for(choice: str, device: torch.device) -> Precision:
    """The precision chosen, or what suits the device: of a processor the core knows it, of a card the host."""
    if choice == "default" and comfy.model_management.FORCE_FP32:
        return Precision(torch.float32)
    if choice == "int8" and device.type != "cpu":
        raise ValueError("weight_dtype int8 is for a ComfyUI that runs on the processor (--cpu). Choose default here.")
    if choice != "default" or device.type == "cpu":
        return precision_of(DTYPES.get(choice, "auto"), device)
    if comfy.model_management.should_use_bf16(device):
        return Precision(torch.bfloat16)
    if comfy.model_management.should_use_fp16(device):
        return Precision(torch.float16)
    return Precision(torch.float32)
