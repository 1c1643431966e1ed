"""Outpaint and Canvas: pictures larger than the model's own, drawn by a window that slides."""

import torch
from comfy_api.latest import io
from torch import Tensor

from ..randar_core.decoding.windows import OVERLAP
from ..randar_core.tasks.generate import generate
from ..randar_core.tasks.inpaint import THRESHOLD
from ..randar_core.tasks.outpaint import axes_of, known_cells, outpaint
from .convert import drawn_outputs, image_of, latent_of, mask_of, masks_of, pixels_of
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
    overlap_widget,
    schedule_widget,
)

SIDES = ("left", "top", "right", "bottom")
PADDING = 0.5  # the grey that Pad Image for Outpainting fills its frame with
# Of a pixel of the result where new pixels meet old ones: pictures, masks and the pyramid of the error, as measured by
# tests/devices/test_node_memory.py.
PIXEL_BYTES = 140


class RandAROutpaint(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandAROutpaint",
            display_name="RandAR Outpaint",
            category="RandAR",
            description="Extends a picture beyond its edges by any amount. Its own pixels stay as they are.",
            search_aliases=["outpaint", "extend", "expand image", "uncrop", "zoom out", "pad image"],
            inputs=[
                model_socket(),
                classes_socket("What the picture shows. Fewer classes than pictures are used in turn."),
                io.Image.Input("image", tooltip="The picture to extend, of any size. Values outside 0…1 are clamped."),
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
                    tooltip="Pixels over which the colours of the new part adapt to the edge of the picture.",
                ),
                *common_sockets(),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="The mask of Pad Image for Outpainting, if the picture comes from there. It then says what "
                    "to draw; left, top, right and bottom have no effect.",
                ),
                negative_socket(),
                schedule_widget(),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The extended picture."),
                latent_output("Its tokens. They are whole ones: up to one more on each side than the image shows."),
                confidence_output("The model's confidence in each token; 1 where nothing was drawn."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        classes,
        image,
        left,
        top,
        right,
        bottom,
        overlap=OVERLAP,
        seam=64,
        mask=None,
        negative=None,
        **settings,
    ) -> io.NodeOutput:
        pixels, margins = pixels_of(image), dict(zip(SIDES, (left, top, right, bottom), strict=True))
        if mask is not None:
            pixels, margins = without_padding(pixels, masks_of(mask))
        pictures, (height, width) = max(len(pixels), len(classes)), pixels.shape[2:]
        prompts, options = decoding_of(model, classes, range(pictures), negative, **settings)
        overlap_cells = int(overlap * model.grid)
        known = known_cells(*axes_of(height, width, model.vae.factor, **margins))
        out_height, out_width = height + margins["top"] + margins["bottom"], width + margins["left"] + margins["right"]

        def task(options, progress):
            return outpaint(
                model.transformer,
                model.vae.for_tasks,
                pixels.to(model.device),
                prompts,
                options,
                **margins,
                overlap=overlap_cells,
                seam=seam,
                on_step=progress,
            )

        workload = Workload.sliding(
            model,
            known,
            overlap_cells,
            pictures=pictures,
            groups=prompts.groups(options.guidance, *known.shape, parts=True),
            coded_size=(out_height, out_width),
            shared_bytes=pictures * pixels[0].numel() * 4,  # the pictures in float32
            pixel_bytes=pictures * out_height * out_width * PIXEL_BYTES,
        )
        drawn = run(model, workload, options, task)
        y, x, (height, width) = drawn.top, drawn.left, drawn.pixels.shape[2:]
        return io.NodeOutput(
            image_of(drawn.pixels),
            latent_of(model, drawn.decoded.ids),
            mask_of(model, drawn.decoded.confidence)[:, y : y + height, x : x + width],
        )


def without_padding(pixels: Tensor, masks: Tensor) -> tuple[Tensor, dict[str, int]]:
    """The picture inside the frame that `masks` `[B, H, W]` cover, and the frame's width on each side.

    Raises ValueError for masks that differ, for a mask that isn't a frame and for one of another size.
    """
    masks = masks.cpu()
    if (masks != masks[0]).any():
        raise ValueError(
            f"The batch has {len(masks)} masks that differ; all its pictures grow by the same frame. Connect the "
            "mask of one Pad Image for Outpainting, or outpaint the pictures one at a time."
        )
    mask, covered = masks[0], masks[0] >= 1
    if covered.shape != pixels.shape[2:]:
        raise ValueError(
            f"The mask is {covered.shape[1]}×{covered.shape[0]} pixels, the picture {pixels.shape[3]}×"
            f"{pixels.shape[2]}. Connect the picture and the mask of the same Pad Image for Outpainting."
        )
    rows, columns = ((~covered).any(axis).nonzero().flatten().tolist() for axis in (1, 0))
    if not rows:
        raise ValueError("The mask covers the whole picture, so there is nothing to extend. Use RandAR Canvas instead.")
    (top, bottom), (left, right) = (rows[0], rows[-1] + 1), (columns[0], columns[-1] + 1)
    # A mask with soft values and without a frame comes from another node, such as a segmentation model.
    if covered[top:bottom, left:right].any() or (mask.max() > THRESHOLD and not covered.any()):
        raise ValueError(
            "The mask isn't a frame around the picture, as Pad Image for Outpainting makes one. RandAR Inpaint "
            "repaints masks of any shape."
        )
    own_row = frame_covers_first_line(mask[:, (left + right) // 2], pixels, top)
    own_column = frame_covers_first_line(mask[(top + bottom) // 2], pixels.mT, left)
    top, left = top - own_row, left - own_column
    height, width = covered.shape
    margins = {"left": left, "top": top, "right": width - right, "bottom": height - bottom}
    return pixels[:, :, top:bottom, left:right], margins


def frame_covers_first_line(profile: Tensor, pixels: Tensor, start: int) -> bool:
    """Whether the last covered row of a frame that ends at row `start` is the picture's own first row.

    Pad Image for Outpainting with feathering gives this row the mask 1 too: it counts the distance to the top and to
    the left from 0, to the bottom and to the right from 1. `profile` `[H]` is the mask along the picture's middle
    column. A feathering of 2 or more leaves 0.25 or more in the next row. A feathering of 1 leaves no other trace in
    the mask, and then the grey of the padding in `pixels` `[B, C, H, W]` decides.
    """
    if start < 2:  # a frame and the picture's own row are two rows at least
        return False
    if profile[start] > THRESHOLD:
        return True
    outside, last = pixels[:, :, start - 2], pixels[:, :, start - 1]
    return bool((outside == PADDING).all() and (last != PADDING).any())


class RandARCanvas(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandARCanvas",
            display_name="RandAR Canvas",
            category="RandAR",
            description="Draws a picture of any width and height, such as a panorama, by a window that slides.",
            search_aliases=["panorama", "wide image", "large canvas", "any size", "tiled generation"],
            inputs=[
                model_socket(),
                classes_socket(),
                *common_widgets(),
                *(
                    io.Int.Input(
                        name, default=size, min=8, max=16384, step=8, tooltip="In pixels, rounded up to whole tokens."
                    )
                    for name, size in (("width", 512), ("height", 256))
                ),
                batch_size_widget(),
                overlap_widget(),
                *common_sockets(),
                negative_socket(),
                schedule_widget(),
            ],
            outputs=[
                latent_output(),
                confidence_output(),
            ],
        )

    @classmethod
    def execute(
        cls, model, classes, width, height, batch_size=1, overlap=OVERLAP, negative=None, **settings
    ) -> io.NodeOutput:
        pictures = batch_size * len(classes)
        prompts, options = decoding_of(model, classes, range(pictures), negative, **settings)
        columns, rows = (-(-size // model.vae.factor) for size in (width, height))
        overlap_cells = int(overlap * model.grid)

        def task(options, progress):
            return generate(model.transformer, prompts, options, rows, columns, overlap_cells, on_step=progress)

        workload = Workload.sliding(
            model,
            torch.zeros(rows, columns, dtype=torch.bool, device="cpu"),
            overlap_cells,
            pictures=pictures,
            groups=prompts.groups(options.guidance, rows, columns, parts=True),
        )
        drawn = run(model, workload, options, task)
        return io.NodeOutput(*drawn_outputs(model, drawn, options.batch_index))
