"""Sampler: draws tokens, from an empty canvas or into a latent."""

from comfy_api.latest import io

from ..randar_core.tasks.confidence import remask_least_confident, score_confidence
from ..randar_core.tasks.fill import fill
from ..randar_core.tasks.inpaint import THRESHOLD
from .convert import drawn_outputs, sampler_start
from .run import Workload, run
from .widgets import (
    batch_size_widget,
    classes_socket,
    common_sockets,
    common_widgets,
    confidence_output,
    decoding_of,
    denoise_widget,
    latent_output,
    mask_threshold_widget,
    model_socket,
    negative_socket,
    schedule_widget,
)


class RandARSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandARSampler",
            display_name="RandAR Sampler",
            category="RandAR",
            description="Draws pictures of a class, several tokens at a time, or redraws parts of a latent.",
            search_aliases=["sampler", "ksampler", "sample", "generate", "class to image", "inpaint latent", "randar"],
            inputs=[
                model_socket(),
                classes_socket(),
                *common_widgets(),
                batch_size_widget("Pictures of each class. With a latent connected, the latent says how many."),
                denoise_widget(
                    "The share of the latent that is redrawn. Below 1, the tokens with the highest confidence stay."
                ),
                *common_sockets(),
                io.Latent.Input(
                    "latent_image",
                    optional=True,
                    tooltip="A picture to redraw: the whole of it, or where Set Latent Noise Mask says. An empty "
                    "latent only sets how many pictures are drawn.",
                ),
                mask_threshold_widget(),
                negative_socket(),
                schedule_widget(),
            ],
            outputs=[
                latent_output(),
                confidence_output(
                    "The model's confidence in each token, at the picture's size; 1 where nothing was drawn."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        classes,
        batch_size=1,
        denoise=1.0,
        latent_image=None,
        mask_threshold=THRESHOLD,
        negative=None,
        **settings,
    ) -> io.NodeOutput:
        start = sampler_start(latent_image, model, len(classes), batch_size, mask_threshold)
        prompts, options = decoding_of(model, classes, start.batch_index, negative, **settings)
        canvas, partly = start.canvas, start.filled and denoise < 1

        def task(options, progress):
            rest = canvas.to(model.device)
            if partly:
                confidence = score_confidence(model.transformer, rest, prompts, options, on_score=progress.on_score)
                rest = remask_least_confident(rest, confidence, share=denoise)
            return fill(model.transformer, rest, prompts, options, on_step=progress)

        # Pictures with as many known cells are drawn together.
        counts = canvas.known.flatten(1).sum(1).tolist()
        alike = [[i for i, own in enumerate(counts) if own == count] for count in set(counts)]
        groups = [g for index in alike for g in prompts.take(index).groups(options.guidance, model.grid, model.grid)]
        workload = Workload(
            pictures=canvas.batch,
            groups=groups,
            cells=model.grid**2,
            known=set(counts),
            passes=("score", "decode") if partly else ("decode",),
        )
        drawn = run(model, workload, options, task)
        return io.NodeOutput(*drawn_outputs(model, drawn, options.batch_index, latent_image))
