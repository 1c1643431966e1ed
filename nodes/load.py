"""Load Model: from a file to the model and its VAE."""

from comfy_api.latest import io

from .files import AUTO, file_names, model_names, versions_of
from .loaded_model import DTYPES, load_model
from .sockets import ModelSocket


class RandARLoadModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandARLoadModel",
            display_name="Load RandAR Model",
            category="RandAR",
            description="Loads an any-order autoregressive image model, and its tokenizer as a VAE.",
            search_aliases=[
                "randar",
                "rar",
                "lpd",
                "arpg",
                "autoregressive",
                "load checkpoint",
                "llamagen",
                "tokenizer",
            ],
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=model_names(),
                    tooltip="The built-in model, or a file in models/randar: a released transformer or a bundle of a "
                    "transformer and its tokenizer.",
                ),
                io.Combo.Input(
                    "weight_dtype",
                    options=["default", *DTYPES],
                    advanced=True,
                    tooltip="The precision of the weights and, where the device has it, of the computation. default: "
                    "the best for your device. int8: on a CPU only; the fastest there, with some loss of quality.",
                ),
                io.Combo.Input(
                    "tokenizer",
                    options=[AUTO, *file_names()],
                    advanced=True,
                    tooltip="The tokenizer's file. auto: the bundle's own, or the file in models/randar that fits.",
                ),
            ],
            outputs=[
                ModelSocket.Output(display_name="model", tooltip="The model, for the RandAR nodes."),
                io.Vae.Output(
                    display_name="vae",
                    tooltip="The model's tokenizer, for VAE Decode, VAE Encode and other nodes that take a VAE.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, model_name, weight_dtype="default", tokenizer=AUTO):
        """Load again when a file that may belong to this model has been replaced."""
        return [version.key for version in versions_of(model_name, tokenizer)]

    @classmethod
    def execute(cls, model_name, weight_dtype="default", tokenizer=AUTO) -> io.NodeOutput:
        model = load_model(model_name, tokenizer, weight_dtype)
        return io.NodeOutput(model, model.vae)
