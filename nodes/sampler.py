"""Sampler: draws tokens, from nothing or into a latent."""

from comfy_api.latest import io

from ..randar_core.decoding.windows import fill
from ..randar_core.tasks.confidence import forget_unsure, sureness
from .latents import result, start_from
from .run import COMMON_SOCKETS, class_ids, common_widgets, mask_of, options_for, run
from .sockets import RandARClass, RandARModel


class Sampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandARSampler",
            display_name="RandAR Sampler",
            category="RandAR",
            description="Draws pictures of a class, several tokens at a time, or redraws parts of a latent.",
            search_aliases=["sampler", "ksampler", "sample", "generate", "class to image", "inpaint latent", "randar"],
            inputs=[
                RandARModel.Input("model", tooltip="The model that draws."),
                RandARClass.Input("classes", tooltip="What to draw. Several classes give a picture of each."),
                *common_widgets(),
                io.Int.Input(
                    "batch_size",
                    default=1,
                    min=1,
                    max=4096,
                    tooltip="Pictures of each class. With a latent connected, the latent says how many.",
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How much of the latent is redrawn. Below 1, the tokens that the model is surest of stay.",
                ),
                *COMMON_SOCKETS,
                io.Latent.Input(
                    "latent_image",
                    optional=True,
                    tooltip="A picture to redraw: whole, or where Set Latent Noise Mask says. An empty latent only "
                    "sets how many pictures are drawn.",
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The tokens, for VAE Decode with the model's VAE."),
                io.Mask.Output(
                    display_name="confidence",
                    tooltip="How sure the model was of each token, at the picture's size; 1 where nothing was drawn.",
                ),
            ],
        )

    @classmethod
    def execute(cls, model, classes, batch_size=1, denoise=1.0, latent_image=None, **settings) -> io.NodeOutput:
        start = start_from(latent_image, model, len(classes), batch_size)
        options = options_for(model, start.pictures, **settings)
        canvas, ids = start.canvas.to(model.device), class_ids(model, classes, start.canvas.batch)
        partly = start.filled and denoise < 1

        def task(options, on_call):
            rest = canvas
            if partly:
                rest = forget_unsure(canvas, sureness(model.transformer, canvas, ids, options), share=denoise)
            return fill(model.transformer, rest, ids, options, on_call=on_call)

        known = int(canvas.known.flatten(1).sum(1).max())
        decoded = run(model, task, options, canvas.batch, known=known, scored=partly)
        return io.NodeOutput(
            result(latent_image, model.vae.vectors(decoded.ids), start.pictures), mask_of(model, decoded.confidence)
        )
