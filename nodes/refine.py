"""Refine and Confidence: the model's confidence in a picture's tokens, and new tokens for the least confident ones."""

import torch
from comfy_api.latest import io

from ..randar_core.decoding.canvas import Canvas
from ..randar_core.decoding.windows import default_overlap
from ..randar_core.io.images import heat_map
from ..randar_core.tasks.confidence import score_confidence
from ..randar_core.tasks.inpaint import THRESHOLD
from ..randar_core.tasks.refine import refine
from .chosen import conditions_for, shared_batch_index
from .convert import image_of, latent_result, latent_start, mask_of, masks_of
from .run import Workload, run, windows_over
from .sockets import ClassSocket, ModelSocket
from .widgets import (
    common_sockets,
    common_widgets,
    guidance_socket,
    mask_threshold_widget,
    negative_socket,
    options_for,
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
                ModelSocket.Input("model", tooltip="The model that draws."),
                ClassSocket.Input("classes", tooltip="What the pictures show. They repeat until every class has one."),
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
                io.Latent.Output(display_name="latent", tooltip="The refined tokens."),
                io.Mask.Output(display_name="confidence", tooltip="The model's confidence in each token."),
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
        canvas, batch_index = start.canvas, shared_batch_index(classes, start.batch_index)
        options = options_for(model, batch_index, **settings)
        conditions = conditions_for(model, classes, canvas.batch, negative)

        def task(options, progress):
            return refine(
                model.transformer,
                canvas.ids.to(model.device),
                conditions,
                options,
                **{REMASK_BY[forget]: amount},
                rounds=rounds,
                fixed=canvas.known.to(model.device),
                on_step=progress,
                on_score=progress.on_score,
            )

        workload = Workload(
            pictures=canvas.batch,
            rows=conditions.rows(options.guidance),
            conditions=conditions.distinct(options.guidance),
            cells=model.grid**2,
            known=model.grid**2 * 3 // 4,
            scored=True,
            canvas_cells=canvas.cells,
            windows=rounds * windows_over(torch.zeros_like(canvas.known[0]), model.grid, default_overlap(model.grid)),
        )
        refined = run(model, workload, options, task)
        return io.NodeOutput(
            latent_result(latent, model.vae.vectors(refined.ids), batch_index), mask_of(model, refined.confidence)
        )


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
                ModelSocket.Input("model", tooltip="The model that scores."),
                ClassSocket.Input("classes", tooltip="What the pictures show. They repeat until every class has one."),
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
                io.Mask.Output(
                    display_name="confidence", tooltip="The probability of each token, at the picture's size."
                ),
                io.Image.Output(
                    display_name="heat_map", tooltip="The same as a picture: dark is low, yellow is high confidence."
                ),
            ],
        )

    @classmethod
    def execute(cls, model, classes, latent, cfg, guidance=None, negative=None) -> io.NodeOutput:
        start = latent_start(latent, model, len(classes))
        batch_index = shared_batch_index(classes, start.batch_index)
        options = options_for(model, batch_index, seed=0, steps=1, cfg=cfg, guidance=guidance)
        canvas = Canvas(start.canvas.ids, torch.zeros_like(start.canvas.known))  # a noise mask has no effect
        conditions = conditions_for(model, classes, canvas.batch, negative)

        def task(options, progress):
            on_device = canvas.to(model.device)
            return score_confidence(model.transformer, on_device, conditions, options, on_score=progress.on_score)

        workload = Workload(
            pictures=canvas.batch,
            rows=conditions.rows(options.guidance),
            conditions=conditions.distinct(options.guidance),
            cells=model.grid**2,
            scored=True,
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
