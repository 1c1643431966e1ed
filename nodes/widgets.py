"""Widgets and sockets that several nodes have, and the decoding options that they stand for."""

from collections.abc import Sequence

from comfy_api.latest import io

from ..randar_core.decoding.conditions import PromptBatch
from ..randar_core.decoding.guidance import Guidance
from ..randar_core.decoding.options import DecodingOptions
from ..randar_core.decoding.orders import order_named
from ..randar_core.decoding.sampling import Sampling
from ..randar_core.decoding.schedule import SCHEDULES
from ..randar_core.decoding.windows import OVERLAP
from ..randar_core.tasks.inpaint import THRESHOLD
from .class_prompts import ClassPrompt, prompts_for, shared_batch_index
from .loaded_model import LoadedModel
from .sockets import ClassSocket, GuidanceSocket, ModelSocket, OrderSocket

OWN_SCHEDULE = "model's own"


def model_socket(tooltip: str = "The model that draws.") -> io.Input:
    return ModelSocket.Input("model", tooltip=tooltip)


def classes_socket(tooltip: str = "What to draw. Several classes give a picture of each.") -> io.Input:
    return ClassSocket.Input("classes", tooltip=tooltip)


def latent_output(tooltip: str = "The tokens, for VAE Decode with the model's VAE.") -> io.Output:
    return io.Latent.Output(display_name="latent", tooltip=tooltip)


def confidence_output(tooltip: str = "The model's confidence in each token.") -> io.Output:
    return io.Mask.Output(display_name="confidence", tooltip=tooltip)


def common_widgets(cfg: float = 4.0, cfg_schedule: str = "on the model's own schedule") -> list[io.Input]:
    """Seed, steps, cfg and token sampling, in KSampler's order."""
    return [
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=0xFFFFFFFFFFFFFFFF,
            control_after_generate=True,
            tooltip="The random seed. All random numbers of a picture come from the seed and the picture's index in "
            "the batch.",
        ),
        io.Int.Input(
            "steps",
            default=88,
            min=1,
            max=10000,
            tooltip="Calls of the model for a whole picture. Fewer calls are faster and draw more tokens at a time: "
            "32 is a draft, 256 one token at a time. Released with: RandAR 88, ARPG 64, LPD 20, at 512 pixels 48. RAR "
            "models always draw one at a time.",
        ),
        io.Float.Input(
            "cfg",
            default=cfg,
            min=0.0,
            max=100.0,
            step=0.1,
            round=0.01,
            tooltip=f"The guidance scale at the end of the picture, reached {cfg_schedule}. 1 is no guidance. Released "
            "with: RandAR-L 3.4 (LlamaGen) or 4 (MaskGIT), XL 4; RAR-B 16, L 15.5, XL 6.9, XXL 8; ARPG-L 5, XL 6, "
            "XXL 7.5; LPD-L 4.8, XL 4.9, XXL 5.9, at 512 pixels L 7.3, XL 6.",
        ),
        io.Float.Input(
            "temperature",
            default=1.0,
            min=0.01,
            max=10.0,
            step=0.01,
            round=0.001,
            advanced=True,
            tooltip="Below 1, probable tokens become more probable. Above 1, rare tokens do. Released with: RAR-L, XL "
            "and XXL 1.02, the built-in model 0.6, all others 1.",
        ),
        io.Int.Input(
            "top_k",
            default=0,
            min=0,
            max=1000000,
            advanced=True,
            tooltip="Sample from this many of the most probable tokens only. 0: from all.",
        ),
        io.Float.Input(
            "top_p",
            default=1.0,
            min=0.01,
            max=1.0,
            step=0.01,
            round=0.001,
            advanced=True,
            tooltip="Sample from the most probable tokens that together have this probability. 1: from all.",
        ),
    ]


def common_sockets() -> list[io.Input]:
    return [
        OrderSocket.Input(
            "order", optional=True, tooltip="Which cells are drawn first. Without it: the model's own order."
        ),
        guidance_socket(),
    ]


def guidance_socket() -> io.Input:
    return GuidanceSocket.Input("guidance", optional=True, tooltip="A guidance schedule, used instead of cfg.")


def negative_socket() -> io.Input:
    return ClassSocket.Input(
        "negative",
        optional=True,
        tooltip="A class that guidance steers away from, instead of the model's class for anything. It has no effect "
        "where the guidance is 1.",
    )


def batch_size_widget(tooltip: str = "Pictures of each class.") -> io.Input:
    return io.Int.Input("batch_size", default=1, min=1, max=4096, tooltip=tooltip)


def overlap_widget() -> io.Input:
    return io.Float.Input(
        "overlap",
        default=OVERLAP,
        min=0.0,
        max=0.9,
        step=0.05,
        round=0.001,
        advanced=True,
        tooltip="The share of the window that lies on known tokens when it slides on. A higher share makes a more "
        "coherent picture and takes longer. Up to two of these tokens, at the edge, are drawn again.",
    )


def denoise_widget(tooltip: str) -> io.Input:
    return io.Float.Input("denoise", default=1.0, min=0.0, max=1.0, step=0.01, tooltip=tooltip)


def mask_threshold_widget() -> io.Input:
    return io.Float.Input(
        "mask_threshold",
        default=THRESHOLD,
        min=0.0,
        max=0.99,
        step=0.01,
        round=0.001,
        advanced=True,
        optional=True,  # workflows that were saved before this widget stay valid
        tooltip="A pixel is masked where the mask is above this value. Segmentation models give small values in the "
        "background, which must not count.",
    )


def schedule_widget() -> io.Input:
    return io.Combo.Input(
        "schedule",
        options=[OWN_SCHEDULE, *SCHEDULES],
        advanced=True,
        optional=True,  # workflows that were saved before this widget stay valid
        tooltip="How many tokens each call draws: few at first and more later. cosine is RandAR's, arccos ARPG's, lpd "
        "LPD's. RAR models always draw one at a time.",
    )


def decoding_of(
    model: LoadedModel,
    classes: Sequence[ClassPrompt],
    batch_index: Sequence[int],
    negative: Sequence[ClassPrompt] | None = None,
    **settings,
) -> tuple[PromptBatch, DecodingOptions]:
    """The prompts and the decoding options of pictures, from the sockets and widgets that all drawing nodes have.

    model: that draws.
    classes, negative: of the sockets, used in turn.
    batch_index: `[B]`, that of the pictures; those that share their random numbers get one index.
    settings: as for `options_for`.
    """
    options = options_for(model, shared_batch_index(classes, batch_index), **settings)
    return prompts_for(model, classes, len(batch_index), negative), options


def options_for(
    model: LoadedModel,
    batch_index: Sequence[int] | None,
    seed: int,
    steps: int,
    cfg: float,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    order=None,
    guidance=None,
    spatial=None,
    schedule: str = OWN_SCHEDULE,
) -> DecodingOptions:
    """The decoding options that the common widgets and sockets stand for.

    model: its defaults fill in what is left open.
    batch_index: `[B]`, that of the pictures.
    seed, steps, cfg, temperature, top_k, top_p: the common widgets.
    order: of the socket; None: the model's own.
    guidance: a schedule in place of the model's own with `cfg`.
    spatial: a guidance schedule for resolution extrapolation, together with `guidance`.
    schedule: call sizes, a key of `SCHEDULES` or `OWN_SCHEDULE`.
    """
    return DecodingOptions(
        guidance=model.guidance(cfg) if guidance is None else Guidance(guidance, spatial),
        steps=steps,
        seed=seed,
        sampling=Sampling(temperature, top_k, top_p),
        order=order_named(model.defaults.order, model.defaults.repulsion) if order is None else order,
        schedule=None if schedule == OWN_SCHEDULE else schedule,
        batch_index=batch_index,
    )
