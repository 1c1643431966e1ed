"""Inpaint: repaint a masked part of a picture of any size, as its own class or another one."""

from collections import Counter

import torch
from comfy_api.latest import io
from torch import Tensor

from ..randar_core.tasks.checks import check_mask
from ..randar_core.tasks.crops import resize_square
from ..randar_core.tasks.inpaint import THRESHOLD, check_settings, crops_and_known, inpaint
from .convert import image_of, latent_of, masks_of, pixels_of, to_host
from .run import Workload, run
from .widgets import (
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

SHARED_BYTES = 28  # of a pixel while the networks work: 12 of the picture, 4 each of two masks, 8 of the regions
SQUARE_BYTES = 24  # of a pixel of all crops at the model's size, as they were and as they are repainted
# Where new pixels meet old ones, as measured by tests/devices/test_node_memory.py: of a pixel of all pictures, and of
# one of the crop that is scaled, which may be as wide as the picture is long.
PIXEL_BYTES, CROP_BYTES = 50, 43


class RandARInpaint(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandARInpaint",
            display_name="RandAR Inpaint",
            category="RandAR",
            description="Repaints the masked part of a picture of any size. With another class it replaces the object.",
            search_aliases=["inpaint", "class edit", "replace object", "remove", "fill mask", "repaint", "img2img"],
            inputs=[
                model_socket(),
                classes_socket(
                    "What the picture is to show, or what to paint into the mask. Fewer classes than pictures "
                    "are used in turn."
                ),
                io.Image.Input(
                    "image",
                    tooltip="The picture, of any size. Outside the mask it stays as it is. Values outside 0…1 are "
                    "clamped.",
                ),
                io.Mask.Input("mask", tooltip="What to repaint. Regions that are far apart are repainted separately."),
                *common_widgets(),
                denoise_widget(
                    "The share of the mask that is redrawn. Below 1, the tokens that fit the class best stay."
                ),
                io.Float.Input(
                    "context",
                    default=2.0,
                    min=1.0,
                    max=16.0,
                    step=0.1,
                    round=0.01,
                    tooltip="How much of the picture the model sees: the width of the crop around a region, as a "
                    "multiple of the region's width. At least the model's own picture where there is room.",
                ),
                io.Int.Input(
                    "grow_mask_by",
                    default=8,
                    min=0,
                    max=1024,
                    tooltip="Pixels by which the mask is dilated first. No pixel outside the dilated mask changes.",
                ),
                io.Int.Input(
                    "seam",
                    default=8,
                    min=0,
                    max=1024,
                    tooltip="Pixels over which the new picture is feathered, inside the dilated mask.",
                ),
                *common_sockets(),
                mask_threshold_widget(),
                negative_socket(),
                schedule_widget(),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The picture with the mask repainted."),
                latent_output(
                    "The tokens of the crops that were repainted, so the number of latents may differ from the "
                    "number of pictures. Where nothing was repainted: of the square in the picture's middle."
                ),
                confidence_output("The model's confidence in the tokens that it drew; 1 where nothing was drawn."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        classes,
        image,
        mask,
        denoise=1.0,
        context=2.0,
        grow_mask_by=8,
        seam=8,
        mask_threshold=THRESHOLD,
        negative=None,
        **settings,
    ) -> io.NodeOutput:
        pixels, masks = pixels_of(image), masks_of(mask)
        if not (masks > mask_threshold).any():
            # An empty mask has any size: Load Image gives 64×64 zeros for a picture without alpha.
            masks = masks.new_zeros(len(masks), *pixels.shape[2:])
        # What can't be drawn is refused before weights are loaded.
        check_mask(masks, pixels)
        check_settings(denoise, grow_mask_by, seam, context, mask_threshold)
        pictures, (height, width) = max(len(pixels), len(masks), len(classes)), pixels.shape[2:]
        prompts, options = decoding_of(model, classes, range(pictures), negative, **settings)

        def task(options, progress):
            return inpaint(
                model.transformer,
                model.vae.for_tasks,
                pixels.to(model.device),
                masks.to(model.device),
                prompts,
                options,
                denoise=denoise,
                grow=grow_mask_by,
                seam=seam,
                context=context,
                threshold=mask_threshold,
                on_step=progress,
                on_score=progress.on_score,
            )

        crops, known = crops_and_known(masks.cpu() > mask_threshold, grow_mask_by, context, model.side, model.grid)
        squares = len(crops) * (pictures // len(masks)) * model.side**2
        largest = max((crop.side for crop in crops), default=0)
        workload = Workload(
            pictures=pictures,
            groups=prompts.groups(options.guidance, model.grid, model.grid, parts=True),
            cells=model.grid**2,
            known=set(known) or {0},
            passes=("score", "decode") if denoise < 1 else ("decode",),
            coded_size=(model.side, model.side),
            canvas_cells=height * width // model.vae.factor**2,
            crops=max(Counter(crop.picture for crop in crops).values(), default=0) if denoise else 0,
            shared_bytes=pictures * height * width * SHARED_BYTES + squares * SQUARE_BYTES,
            pixel_bytes=pictures * height * width * PIXEL_BYTES + squares * SQUARE_BYTES + largest**2 * CROP_BYTES,
        )
        painted = run(model, workload, options, task)
        if painted.decoded:
            ids = painted.decoded.ids
        else:
            ids = model.vae.encode_ids(middle_squares(painted.pixels[:, :3], model.side))
        return io.NodeOutput(image_of(painted.pixels), latent_of(model, ids), to_host(painted.confidence))


def middle_squares(pixels: Tensor, side: int) -> Tensor:
    """The largest square in the middle of each of `pixels` `[B, 3, H, W]`, scaled to `side` pixels."""
    height, width = pixels.shape[2:]
    shorter = min(height, width)
    top, left = (height - shorter) // 2, (width - shorter) // 2
    squares = pixels[:, :, top : top + shorter, left : left + shorter]
    return torch.stack([resize_square(square, side) for square in squares])
