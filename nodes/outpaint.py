"""Outpaint and Canvas: pictures larger than the model's own, by a window that slides."""

from comfy_api.latest import io
from einops import rearrange
from torch import Tensor

from ..randar_core.decoding.windows import OVERLAP
from ..randar_core.tasks.generate import generate
from ..randar_core.tasks.outpaint import outpaint
from .run import (
    COMMON_SOCKETS,
    LoadedTokenizer,
    class_ids,
    common_widgets,
    latent_of,
    mask_of,
    options_for,
    pixels_of,
    run,
    to_host,
)
from .sockets import RandARClass, RandARModel

SIDES = ("left", "top", "right", "bottom")
PADDING = 0.5  # the grey that Pad Image for Outpainting fills its frame with


def overlap_widget() -> io.Input:
    return io.Float.Input(
        "overlap",
        default=OVERLAP,
        min=0.0,
        max=0.9,
        step=0.05,
        round=0.001,
        advanced=True,
        tooltip="How much of its window lies on what is there already when the window slides on. More holds the "
        "picture better together and takes longer. Its outermost tokens, up to two, are drawn anew.",
    )


class Outpaint(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandAROutpaint",
            display_name="RandAR Outpaint",
            category="RandAR",
            description="Extends a picture beyond its edges by any amount; its own pixels stay as they are.",
            search_aliases=["outpaint", "extend", "expand image", "uncrop", "zoom out", "pad image"],
            inputs=[
                RandARModel.Input("model", tooltip="The model that draws."),
                RandARClass.Input("classes", tooltip="What the picture shows. Fewer classes than pictures take turns."),
                io.Image.Input("image", tooltip="The picture to extend, of any size."),
                *(
                    io.Int.Input(side, default=64, min=0, max=16384, tooltip=f"Pixels to add: {side}.")
                    for side in SIDES
                ),
                *common_widgets(),
                overlap_widget(),
                io.Int.Input(
                    "seam",
                    default=64,
                    min=0,
                    max=1024,
                    advanced=True,
                    tooltip="Pixels over which the colours of the new picture adapt to the edge of the old one.",
                ),
                *COMMON_SOCKETS,
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="The mask of Pad Image for Outpainting, where the picture comes from there. It then says "
                    "what to draw, and left, top, right and bottom say nothing.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The extended picture."),
                io.Latent.Output(
                    display_name="latent",
                    tooltip="Its tokens, whole ones: up to one more on each side than the image shows.",
                ),
                io.Mask.Output(display_name="confidence", tooltip="How sure the model was; 1 where nothing was drawn."),
            ],
        )

    @classmethod
    def execute(
        cls, model, classes, image, left, top, right, bottom, overlap=OVERLAP, seam=64, mask=None, **settings
    ) -> io.NodeOutput:
        options = options_for(model, None, **settings)
        pixels, margins = pixels_of(image), dict(zip(SIDES, (left, top, right, bottom), strict=True))
        if mask is not None:
            pixels, margins = without_padding(pixels, mask)
        batch, (height, width) = max(len(pixels), len(classes)), pixels.shape[2:]
        ids = class_ids(model, classes, batch)

        def task(options, on_call):
            return outpaint(
                model.transformer,
                LoadedTokenizer(model.vae),
                pixels.to(model.device),
                ids,
                options,
                **margins,
                overlap=int(overlap * model.grid),
                seam=seam,
                on_call=on_call,
            )

        size = (height + margins["top"] + margins["bottom"], width + margins["left"] + margins["right"])
        drawn = run(model, task, options, batch, known=model.grid**2 // 2, size=size, windowed=True)
        y, x, (height, width) = drawn.top, drawn.left, drawn.pixels.shape[2:]
        return io.NodeOutput(
            rearrange(to_host(drawn.pixels), "b c h w -> b h w c"),
            latent_of(model, drawn.decoded.ids),
            mask_of(model, drawn.decoded.confidence)[:, y : y + height, x : x + width],
        )


def without_padding(pixels: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, int]]:
    """The picture inside the frame that a mask covers, and the frame's width on each side.

    Raises ValueError for masks that differ, for one that is no frame and for another size than the picture's.
    """
    masks = mask.reshape(-1, *mask.shape[-2:]).cpu()
    if (masks != masks[0]).any():
        raise ValueError(
            f"The batch holds {len(masks)} masks that differ; all its pictures grow by the same frame. Connect the "
            "mask of one Pad Image for Outpainting, or outpaint the pictures one at a time."
        )
    mask, covered = masks[0], masks[0] >= 1
    if covered.shape != pixels.shape[2:]:
        raise ValueError(
            f"The mask is {covered.shape[1]}×{covered.shape[0]} pixels, the picture {pixels.shape[3]}×"
            f"{pixels.shape[2]}. Connect picture and mask of the same Pad Image for Outpainting."
        )
    rows, columns = ((~covered).any(axis).nonzero().flatten().tolist() for axis in (1, 0))
    if not rows:
        raise ValueError("The mask covers the whole picture, so there is nothing to extend. Use RandAR Canvas instead.")
    (top, bottom), (left, right) = (rows[0], rows[-1] + 1), (columns[0], columns[-1] + 1)
    if covered[top:bottom, left:right].any():
        raise ValueError("The mask is no frame around the picture. RandAR Inpaint repaints masks of any shape.")
    own_row = first_line_is_the_pictures(mask[:, (left + right) // 2], pixels, top)
    own_column = first_line_is_the_pictures(mask[(top + bottom) // 2], pixels.mT, left)
    top, left = top - own_row, left - own_column
    height, width = covered.shape
    margins = {"left": left, "top": top, "right": width - right, "bottom": height - bottom}
    return pixels[:, :, top:bottom, left:right], margins


def first_line_is_the_pictures(profile: Tensor, pixels: Tensor, start: int) -> bool:
    """Whether the last covered row of a frame that ends at row `start` is the picture's own first one.

    Pad Image for Outpainting with feathering gives it the mask 1 too: the distance to the top and to the left counts
    from 0, to the bottom and to the right from 1. `profile` `[H]` is the mask along the picture's middle column. A
    feathering of 1 leaves no other trace in the mask than that, and then the grey of the padding in `pixels`
    `[B, C, H, W]` tells.
    """
    if start < 2:  # a frame and the picture's own row are two rows at least
        return False
    if profile[start] > 0:
        return True
    outside, last = pixels[:, :, start - 2], pixels[:, :, start - 1]
    return bool((outside == PADDING).all() and (last != PADDING).any())


class DrawCanvas(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandARCanvas",
            display_name="RandAR Canvas",
            category="RandAR",
            description="Draws a picture of any width and height, such as a panorama, by a window that slides.",
            search_aliases=["panorama", "wide image", "large canvas", "any size", "tiled generation"],
            inputs=[
                RandARModel.Input("model", tooltip="The model that draws."),
                RandARClass.Input("classes", tooltip="What to draw. Several classes give a picture of each."),
                *common_widgets(),
                *(
                    io.Int.Input(
                        name, default=size, min=8, max=16384, step=8, tooltip="In pixels, rounded up to whole tokens."
                    )
                    for name, size in (("width", 512), ("height", 256))
                ),
                io.Int.Input("batch_size", default=1, min=1, max=4096, tooltip="Pictures of each class."),
                overlap_widget(),
                *COMMON_SOCKETS,
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The tokens, for VAE Decode with the model's VAE."),
                io.Mask.Output(display_name="confidence", tooltip="How sure the model was of each token."),
            ],
        )

    @classmethod
    def execute(cls, model, classes, width, height, batch_size=1, overlap=OVERLAP, **settings) -> io.NodeOutput:
        options, count = options_for(model, None, **settings), batch_size * len(classes)
        ids = class_ids(model, classes, count)
        columns, rows = (-(-size // model.vae.factor) for size in (width, height))

        def task(options, on_call):
            return generate(model.transformer, ids, options, rows, columns, int(overlap * model.grid), on_call)

        decoded = run(model, task, options, count, known=int(overlap * model.grid**2), windowed=True)
        return io.NodeOutput(latent_of(model, decoded.ids), mask_of(model, decoded.confidence))
