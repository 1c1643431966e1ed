"""Extrapolate: pictures of twice the trained size and more, with the trained size as their context."""

from comfy_api.latest import io

from ..randar_core.decoding.guidance import Linear
from ..randar_core.tasks.extrapolate import check_settings, extrapolate
from .convert import drawn_outputs, sampler_start
from .run import Workload, run
from .widgets import (
    batch_size_widget,
    classes_socket,
    common_sockets,
    common_widgets,
    confidence_output,
    decoding_of,
    latent_output,
    model_socket,
    negative_socket,
    schedule_widget,
)


class RandARExtrapolate(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandARExtrapolate",
            display_name="RandAR Extrapolate",
            category="RandAR",
            description="Draws a picture 2, 3 or 4 times as large as the model was trained for, from a class or around "
            "the tokens of a picture. For RandAR and ARPG models.",
            search_aliases=[
                "high resolution",
                "hires",
                "upscale",
                "super resolution",
                "resolution extrapolation",
                "512",
            ],
            inputs=[
                model_socket("The model that draws, of the RandAR or ARPG family."),
                classes_socket(),
                *common_widgets(cfg=3.0, cfg_schedule="at once: here it is the same throughout"),
                io.Int.Input(
                    "factor",
                    default=2,
                    min=2,
                    max=4,
                    tooltip="How many times as wide and high. The paper shows 2.",
                ),
                io.Float.Input(
                    "spatial_cfg",
                    default=2.5,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="How strongly the picture follows its small version. 1 is no spatial guidance; every other "
                    "value makes steps slower.",
                ),
                batch_size_widget(),
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
                    tooltip="How many of the fastest frequencies keep their true positions in the larger picture; the "
                    "positions of the others are squeezed into the trained range. -1: what suits the model.",
                ),
                *common_sockets(),
                io.Latent.Input(
                    "latent_image",
                    optional=True,
                    tooltip="The small version: a picture of the model's own size from VAE Encode, or a sampler's "
                    "latent. All of it is used; a noise mask has no effect.",
                ),
                negative_socket(),
                schedule_widget(),
            ],
            outputs=[
                latent_output(),
                confidence_output("The model's confidence in each token; 1 for the tokens of a connected latent."),
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
        negative=None,
        **settings,
    ) -> io.NodeOutput:
        start = sampler_start(latent_image, model, len(classes), batch_size)
        settings |= {"guidance": guidance or Linear(cfg, cfg), "spatial": Linear(spatial_cfg, spatial_cfg)}
        prompts, options = decoding_of(model, classes, start.batch_index, negative, cfg=cfg, **settings)
        boundary = model.defaults.boundary if boundary < 0 else boundary
        # What can't be drawn is refused before weights are loaded.
        check_settings(factor, drop_ratio)
        model.transformer.enlarged(factor, boundary)

        def task(options, progress):
            return extrapolate(
                model.transformer,
                prompts,
                options,
                factor,
                ids=start.canvas.ids if start.filled else None,
                boundary=boundary,
                drop_ratio=drop_ratio,
                on_step=progress,
            )

        workload = Workload(
            pictures=len(prompts),
            groups=prompts.groups(options.guidance, factor * model.grid, factor * model.grid),
            cells=(factor * model.grid) ** 2,
            known=(model.grid**2,),
            low_cells=0 if start.filled else model.grid**2,
        )
        drawn = run(model, workload, options, task)
        return io.NodeOutput(*drawn_outputs(model, drawn, options.batch_index, latent_image))
