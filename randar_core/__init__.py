"""Any-order autoregressive image models: load one, generate, inpaint, outpaint, extrapolate, refine.

    from randar_core import generate, load_model, save_png

    model = load_model("builtin")
    drawn = generate(model.transformer, model.prompts(model.class_names[0]), model.options(seed=1))
    save_png("picture.png", model.tokenizer.decode(drawn.ids)[0])

The names below are imported when they are first used, so that importing the package takes no time.
"""

import importlib

__version__ = "0.2.0"

FACE = {
    "Canvas": "decoding.canvas",
    "Condition": "decoding.conditions",
    "DecodingOptions": "decoding.options",
    "Guidance": "decoding.guidance",
    "Linear": "decoding.guidance",
    "ORDERS": "decoding.orders",
    "PowerCosine": "decoding.guidance",
    "Prompt": "decoding.conditions",
    "PromptBatch": "decoding.conditions",
    "Sampling": "decoding.sampling",
    "extrapolate": "tasks.extrapolate",
    "features": "tasks.features",
    "fill": "tasks.fill",
    "generate": "tasks.generate",
    "inpaint": "tasks.inpaint",
    "load_model": "checkpoints.model",
    "outpaint": "tasks.outpaint",
    "read_mask": "io.images",
    "read_pixels": "io.images",
    "refine": "tasks.refine",
    "save_png": "io.images",
    "score_confidence": "tasks.confidence",
}
__all__ = ["__version__", *FACE]


def __getattr__(name: str):
    if name not in FACE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{FACE[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
