"""Refine and Confidence: the model's confidence in a picture's tokens, and new tokens for the least confident ones."""

import torch
from comfy_api.latest import io

from ..randar_core.decoding.canvas import Canvas
from ..randar_core.io.images import heat_map
from ..randar_core.tasks.confidence import score_confidence
from ..randar_core.tasks.inpaint import THRESHOLD
from ..randar_core.tasks.refine import refine
from .convert import drawn_outputs, image_of, latent_start, mask_of, masks_of
from .run import Workload, run
from .widgets import (
    classes_socket,
    common_sockets,
    common_widgets,
    confidence_output,
    decoding_of,
    guidance_socket,
    latent_output,
    mask_threshold_widget,
    model_socket,
    negative_socket,
    schedule_widget,
)

REMASK_BY = {"share": "share", "probability": "below"}


class RandARRefine(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandARRefine",
            display_name="RandAR Refine",
            category="RandAR",
            description="Draws the tokens with the lowest confidence again, with all other tokens known.",
            search_aliases=["refine", "improve", "fix", "resample", "second pass", "detailer", "remask"],
            inputs=[
                model_socket(),
                classes_socket("What the pictures show. They repeat until every class has one."),
                io.Latent.Input(
                    "latent",
                    tooltip="The pictures to refine, of any size: all of them, or where Set Latent Noise Mask says.",
                ),
                *common_widgets(),
                io.Combo.Input(
                    "forget",
                    options=list(REMASK_BY),
                    tooltip="Which tokens are drawn again. share: this share of the tokens, or of those under a noise "
                    "mask, those with the lowest confidence. probability: tokens with a confidence below it.",
                ),
                io.Float.Input(
                    "amount",
                    default=0.25,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="The share, or the probability.",
                ),
                io.Int.Input("rounds", default=1, min=1, max=64, tooltip="How often to refine."),
                *common_sockets(),
                mask_threshold_widget(),
                negative_socket(),
                schedule_widget(),
            ],
            outputs=[
                latent_output("The refined tokens."),
                confidence_output(),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        classes,
        latent,
        forget,
        amount,
        rounds=1,
        mask_threshold=THRESHOLD,
        negative=None,
        **settings,
    ) -> io.NodeOutput:
        start = latent_start(latent, model, len(classes), mask_threshold)
        prompts, options = decoding_of(model, classes, start.batch_index, negative, **settings)
        canvas = start.canvas

        def task(options, progress):
            return refine(
                model.transformer,
                canvas.ids.to(model.device),
                prompts,
                options,
                **{REMASK_BY[forget]: amount},
                rounds=rounds,
                fixed=canvas.known.to(model.device),
                on_step=progress,
                on_score=progress.on_score,
            )

        # Of a share of the whole picture a window may hold any part.
        whole = canvas.cells == model.grid**2
        known = (int(model.grid**2 * (1 - amount)),) if forget == "share" and whole else (0, model.grid**2 * 3 // 4)
        workload = Workload.sliding(
            model,
            torch.zeros_like(canvas.known[0]),
            rounds=rounds,
            pictures=canvas.batch,
            groups=prompts.groups(options.guidance, *canvas.known.shape[1:], parts=True),
            known=known,
            passes=("score", "decode"),
        )
        refined = run(model, workload, options, task)
        return io.NodeOutput(*drawn_outputs(model, refined, options.batch_index, latent))


class RandARConfidence(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandARConfidence",
            display_name="RandAR Confidence",
            category="RandAR",
            description="Scores every token of a picture: its probability under the model, with the class and other "
            "tokens as context.",
            search_aliases=["confidence", "heat map", "heatmap", "score", "likelihood", "uncertainty", "anomaly"],
            inputs=[
                model_socket("The model that scores."),
                classes_socket("What the pictures show. They repeat until every class has one."),
                io.Latent.Input("latent", tooltip="The pictures to score, of any size."),
                io.Float.Input(
                    "cfg",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="The guidance scale of the scores. 1 is no guidance.",
                ),
                guidance_socket(),
                negative_socket(),
            ],
            outputs=[
                confidence_output("The probability of each token, at the picture's size."),
                io.Image.Output(
                    display_name="heat_map", tooltip="The same as a picture: dark is low, yellow is high confidence."
                ),
            ],
        )

    @classmethod
    def execute(cls, model, classes, latent, cfg, guidance=None, negative=None) -> io.NodeOutput:
        start = latent_start(latent, model, len(classes))
        settings = {"seed": 0, "steps": 1, "cfg": cfg, "guidance": guidance}
        prompts, options = decoding_of(model, classes, start.batch_index, negative, **settings)
        canvas = Canvas(start.canvas.ids, torch.zeros_like(start.canvas.known))  # a noise mask has no effect

        def task(options, progress):
            on_device = canvas.to(model.device)
            return score_confidence(model.transformer, on_device, prompts, options, on_score=progress.on_score)

        workload = Workload(
            pictures=canvas.batch,
            groups=prompts.groups(options.guidance, *canvas.known.shape[1:], parts=True),
            cells=model.grid**2,
            passes=("score",),
        )
        confidence = mask_of(model, run(model, workload, options, task))
        return io.NodeOutput(confidence, image_of(heat_map(confidence, *confidence.shape[1:])))


class RandARHeatMap(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandARHeatMap",
            display_name="RandAR Heat Map",
            category="RandAR",
            description="Shows a confidence mask as a picture: dark is low, yellow is high confidence.",
            search_aliases=["confidence to image", "heatmap", "mask to heat map", "colour map", "visualize mask"],
            inputs=[io.Mask.Input("confidence", tooltip="A confidence mask of a RandAR node, or any mask.")],
            outputs=[io.Image.Output(display_name="image", tooltip="The heat map.")],
        )

    @classmethod
    def execute(cls, confidence) -> io.NodeOutput:
        masks = masks_of(confidence, "confidence")
        return io.NodeOutput(image_of(heat_map(masks, *masks.shape[1:])))
