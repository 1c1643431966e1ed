"""Extrapolate: pictures of twice the trained size and more, with the trained size as their context."""

from comfy_api.latest import io

from ..randar_core.decoding.guidance import Linear, spatial_guidance
from ..randar_core.tasks.extrapolate import extrapolate
from .latents import result, start_from
from .run import COMMON_SOCKETS, class_ids, common_widgets, mask_of, options_for, run
from .sockets import RandARClass, RandARModel


class Extrapolate(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandARExtrapolate",
            display_name="RandAR Extrapolate",
            category="RandAR",
            description="Draws a picture 2, 3 or 4 times as large as the model was trained for, from a class or around "
            "the tokens of a given picture. RandAR models only.",
            search_aliases=[
                "high resolution",
                "hires",
                "upscale",
                "super resolution",
                "resolution extrapolation",
                "512",
            ],
            inputs=[
                RandARModel.Input("model", tooltip="The model that draws, of the RandAR family."),
                RandARClass.Input("classes", tooltip="What to draw. Several classes give a picture of each."),
                *common_widgets(cfg=3.0, cfg_course="at once: here it is the same throughout"),
                io.Int.Input(
                    "factor",
                    default=2,
                    min=2,
                    max=4,
                    tooltip="How many times as wide and high. 2 is what the paper shows.",
                ),
                io.Float.Input(
                    "spatial_cfg",
                    default=2.5,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="How strongly the picture holds to its small version. 1 is none; more makes steps slower.",
                ),
                io.Int.Input("batch_size", default=1, min=1, max=4096, tooltip="Pictures of each class."),
                io.Float.Input(
                    "drop_ratio",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    advanced=True,
                    tooltip="Share of the small version that spatial guidance hides to find out what it adds.",
                ),
                io.Int.Input(
                    "boundary",
                    default=-1,
                    min=-1,
                    max=64,
                    advanced=True,
                    tooltip="How many of the fastest frequencies keep their true places in the larger picture; the "
                    "others are squeezed into the trained one. -1 takes what suits the model.",
                ),
                *COMMON_SOCKETS,
                io.Latent.Input(
                    "latent_image",
                    optional=True,
                    tooltip="The small version: a picture of the model's own size through VAE Encode, or a sampler's. "
                    "All of it counts, whatever a noise mask says.",
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The tokens, for VAE Decode with the model's VAE."),
                io.Mask.Output(
                    display_name="confidence", tooltip="How sure the model was; 1 for tokens that were given."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        classes,
        cfg,
        factor,
        spatial_cfg=2.5,
        batch_size=1,
        drop_ratio=0.5,
        boundary=-1,
        guidance=None,
        latent_image=None,
        **settings,
    ) -> io.NodeOutput:
        start = start_from(latent_image, model, len(classes), batch_size)
        course = guidance or Linear(cfg, cfg)
        options = options_for(model, start.pictures, cfg=cfg, guidance=course, **settings)
        in_space = spatial_guidance(course, Linear(spatial_cfg, spatial_cfg))
        ids = class_ids(model, classes, start.canvas.batch)
        low = start.canvas.ids.to(model.device) if start.filled else None

        def task(options, on_call):
            return extrapolate(
                model.transformer,
                ids,
                factor,
                options,
                in_space,
                low,
                boundary=model.defaults.boundary if boundary < 0 else boundary,
                drop_ratio=drop_ratio,
                on_call=on_call,
            )

        cells = (factor * model.grid) ** 2
        decoded = run(model, task, options, len(ids), cells=cells, known=model.grid**2, rows=len(in_space.rows))
        return io.NodeOutput(
            result(latent_image, model.vae.vectors(decoded.ids), start.pictures), mask_of(model, decoded.confidence)
        )
