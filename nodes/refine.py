"""Refine and Confidence: how sure the model is of a picture's tokens, and the least sure ones drawn again."""

import torch
from comfy_api.latest import io
from einops import rearrange
from torch import Tensor

from ..randar_core.decoding.canvas import Canvas
from ..randar_core.tasks.confidence import heat_map, sureness
from ..randar_core.tasks.refine import refine
from .latents import result, start_of
from .run import COMMON_SOCKETS, class_ids, common_widgets, mask_of, options_for, run, to_host
from .sockets import RandARClass, RandARGuidance, RandARModel

BY = {"share": "share", "probability": "below"}


class Refine(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandARRefine",
            display_name="RandAR Refine",
            category="RandAR",
            description="Draws again the tokens that the model is least sure of, with everything else known.",
            search_aliases=["refine", "improve", "fix", "resample", "second pass", "detailer"],
            inputs=[
                RandARModel.Input("model", tooltip="The model that draws."),
                RandARClass.Input("classes", tooltip="What the pictures show. They repeat until every class has one."),
                io.Latent.Input(
                    "latent",
                    tooltip="The pictures to refine, of any size: whole, or where Set Latent Noise Mask says.",
                ),
                *common_widgets(),
                io.Combo.Input(
                    "forget",
                    options=list(BY),
                    tooltip="share: the least sure share of the tokens, or of those under a noise mask. probability: "
                    "tokens less probable than that.",
                ),
                io.Float.Input(
                    "amount",
                    default=0.25,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="The share, or the probability, by which tokens are forgotten.",
                ),
                io.Int.Input("rounds", default=1, min=1, max=64, tooltip="How often to refine."),
                *COMMON_SOCKETS,
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The refined tokens."),
                io.Mask.Output(display_name="confidence", tooltip="How sure the model is of each token."),
            ],
        )

    @classmethod
    def execute(cls, model, classes, latent, forget, amount, rounds=1, **settings) -> io.NodeOutput:
        start = start_of(latent, model, len(classes))
        options, canvas = options_for(model, start.pictures, **settings), start.canvas.to(model.device)
        labels = class_ids(model, classes, canvas.batch)

        def task(options, on_call):
            return refine(
                model.transformer,
                canvas.ids,
                labels,
                options,
                **{BY[forget]: amount},
                rounds=rounds,
                kept=canvas.known,
                on_call=on_call,
            )

        known = model.grid**2 * 3 // 4
        refined = run(model, task, options, canvas.batch, known=known, scored=True, windowed=True)
        return io.NodeOutput(
            result(latent, model.vae.vectors(refined.ids), start.pictures), mask_of(model, refined.confidence)
        )


class Confidence(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandARConfidence",
            display_name="RandAR Confidence",
            category="RandAR",
            description="Scores every token of a picture: how probable the model finds it, given others and the class.",
            search_aliases=["confidence", "heat map", "heatmap", "score", "likelihood", "uncertainty", "anomaly"],
            inputs=[
                RandARModel.Input("model", tooltip="The model that judges."),
                RandARClass.Input("classes", tooltip="What the pictures show. They repeat until every class has one."),
                io.Latent.Input("latent", tooltip="The pictures to score, of any size."),
                io.Float.Input(
                    "cfg", default=1.0, min=0.0, max=100.0, step=0.1, round=0.01, tooltip="The guidance to judge under."
                ),
                RandARGuidance.Input("guidance", optional=True, tooltip="The course of the guidance, in place of cfg."),
            ],
            outputs=[
                io.Mask.Output(
                    display_name="confidence", tooltip="The probability of each token, at the picture's size."
                ),
                io.Image.Output(
                    display_name="heat_map", tooltip="The same as a picture: dark is unsure, yellow is sure."
                ),
            ],
        )

    @classmethod
    def execute(cls, model, classes, latent, cfg, guidance=None) -> io.NodeOutput:
        start = start_of(latent, model, len(classes))
        options = options_for(model, start.pictures, seed=0, steps=1, cfg=cfg, guidance=guidance)
        ids = start.canvas.ids.to(model.device)
        labels = class_ids(model, classes, len(ids))

        def task(options, on_call):
            return sureness(model.transformer, Canvas(ids, torch.zeros_like(ids, dtype=torch.bool)), labels, options)

        confidence = run(model, task, options, len(ids), scored=True)
        return io.NodeOutput(mask_of(model, confidence), heat_map_of(mask_of(model, confidence)))


class HeatMap(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandARHeatMap",
            display_name="RandAR Heat Map",
            category="RandAR",
            description="Shows a confidence mask as a picture: dark is unsure, yellow is sure.",
            search_aliases=["confidence to image", "heatmap", "mask to heat map", "colour map", "visualize mask"],
            inputs=[io.Mask.Input("confidence", tooltip="A confidence from a RandAR node, or any mask.")],
            outputs=[io.Image.Output(display_name="image", tooltip="The heat map.")],
        )

    @classmethod
    def execute(cls, confidence) -> io.NodeOutput:
        return io.NodeOutput(heat_map_of(confidence.reshape(-1, *confidence.shape[-2:])))


def heat_map_of(mask: Tensor) -> Tensor:
    """A MASK `[B, H, W]` as an IMAGE."""
    return rearrange(to_host(heat_map(mask, *mask.shape[1:])), "b c h w -> b h w c")
