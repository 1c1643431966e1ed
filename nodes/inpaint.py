"""Inpaint: repaint a masked part of a picture of any size, as its own class or another one."""

import torch
from comfy_api.latest import io
from einops import rearrange
from torch import Tensor

from ..randar_core.tasks.inpaint import inpaint, scaled, widest_square
from .run import (
    COMMON_SOCKETS,
    LoadedTokenizer,
    class_ids,
    common_widgets,
    latent_of,
    options_for,
    pixels_of,
    run,
    to_host,
)
from .sockets import RandARClass, RandARModel

PIXEL_BYTES = 64  # of all pictures at once: what was given, what comes out, masks, regions, opacity, and on the way
SQUARE_BYTES = 32  # a pixel of one square, which may be as wide as the picture is long


class Inpaint(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandARInpaint",
            display_name="RandAR Inpaint",
            category="RandAR",
            description="Repaints the masked part of a picture of any size. Another class changes what is there.",
            search_aliases=["inpaint", "class edit", "replace object", "remove", "fill mask", "repaint", "img2img"],
            inputs=[
                RandARModel.Input("model", tooltip="The model that draws."),
                RandARClass.Input(
                    "classes",
                    tooltip="What the picture is to show, or what is to come into the mask. Fewer classes than "
                    "pictures take turns.",
                ),
                io.Image.Input("image", tooltip="The picture, of any size. Outside of the mask it stays as it is."),
                io.Mask.Input("mask", tooltip="What to repaint. Regions far apart are repainted each by itself."),
                *common_widgets(),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How much of the mask is redrawn. Below 1, the tokens that fit the class best stay.",
                ),
                io.Float.Input(
                    "context",
                    default=2.0,
                    min=1.0,
                    max=16.0,
                    step=0.1,
                    round=0.01,
                    tooltip="How much of the picture the model sees: the width of the square around a region, in "
                    "widths of the region. At least the model's own picture where there is room.",
                ),
                io.Int.Input(
                    "grow_mask_by",
                    default=8,
                    min=0,
                    max=1024,
                    tooltip="Pixels by which the mask grows first. Beyond that no pixel changes.",
                ),
                io.Int.Input(
                    "seam",
                    default=8,
                    min=0,
                    max=1024,
                    tooltip="Pixels inside the grown mask over which the new picture fades in.",
                ),
                *COMMON_SOCKETS,
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The picture with the mask repainted."),
                io.Latent.Output(
                    display_name="latent",
                    tooltip="The tokens of the squares that were repainted, and so not one latent a picture; of the "
                    "picture's middle square where none was.",
                ),
                io.Mask.Output(
                    display_name="confidence",
                    tooltip="How sure the model was of what it drew; 1 where nothing was drawn.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls, model, classes, image, mask, denoise=1.0, context=2.0, grow_mask_by=8, seam=8, **settings
    ) -> io.NodeOutput:
        options = options_for(model, None, **settings)
        pixels, masks = pixels_of(image), mask.reshape(-1, *mask.shape[-2:])
        if not masks.any():  # Load Image gives 64×64 zeros for a picture without alpha, whatever its size
            masks = masks.new_zeros(len(masks), *pixels.shape[2:])
        batch, (height, width) = max(len(pixels), len(masks), len(classes)), pixels.shape[2:]
        ids = class_ids(model, classes, batch)

        def task(options, on_call):
            return inpaint(
                model.transformer,
                LoadedTokenizer(model.vae),
                pixels.to(model.device),
                masks.to(model.device),
                ids,
                options,
                denoise,
                grow_mask_by,
                seam,
                context,
                on_call,
            )

        painted = run(
            model,
            task,
            options,
            batch,
            known=model.grid**2 * 3 // 4,
            scored=denoise < 1,
            size=(model.side, model.side),
            windowed=True,
            whole=batch * height * width * PIXEL_BYTES + square_pixels(masks, grow_mask_by, context) * SQUARE_BYTES,
        )
        if painted.decoded:
            ids = painted.decoded.ids
        else:
            ids = model.vae.encode_to_ids(middle_squares(painted.pixels[:, :3], model.side))
        return io.NodeOutput(
            rearrange(to_host(painted.pixels), "b c h w -> b h w c"),
            latent_of(model, ids),
            to_host(painted.confidence),
        )


def square_pixels(masks: Tensor, grow: int, context: float) -> int:
    """Pixels of the largest square, at most, that a region of `masks` `[B, H, W]` is cut out in once it has grown."""
    lines = [masks.amax((0, axis)).nonzero() for axis in (1, 2)]
    longest = max((int(line[-1] - line[0]) + 1 + 2 * grow for line in lines if len(line)), default=0)
    return widest_square(*masks.shape[1:], context * longest) ** 2


def middle_squares(pixels: Tensor, side: int) -> Tensor:
    """The largest square in the middle of each of `pixels` `[B, 3, H, W]`, scaled to `side` pixels."""
    height, width = pixels.shape[2:]
    shorter = min(height, width)
    top, left = (height - shorter) // 2, (width - shorter) // 2
    squares = pixels[:, :, top : top + shorter, left : left + shorter]
    return torch.stack([scaled(square, side) for square in squares])
