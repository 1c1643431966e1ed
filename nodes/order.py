"""Order: which cells of a picture are drawn first."""

from comfy_api.latest import io

from ..randar_core.decoding.orders import ORDERS, Painted, order_named
from .convert import masks_of, pixels_of
from .sockets import OrderSocket


class RandAROrder(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandAROrder",
            display_name="RandAR Order",
            category="RandAR",
            description="Chooses which cells are drawn first. Models of the RAR family were trained for raster.",
            search_aliases=[
                "order",
                "decoding order",
                "raster",
                "spiral",
                "hierarchical",
                "locality",
                "random order",
                "halton",
            ],
            inputs=[
                io.Combo.Input(
                    "order",
                    options=list(ORDERS),
                    tooltip="random is what RandAR was trained on, proximity is the order of LPD.",
                ),
                io.Int.Input(
                    "repulsion",
                    default=-1,
                    min=-1,
                    max=64,
                    optional=True,  # workflows that were saved before this widget stay valid
                    advanced=True,
                    tooltip="For proximity: cells that lie between two cells of one call, at least. -1: an eighth of "
                    "the picture's side.",
                ),
            ],
            outputs=[OrderSocket.Output(display_name="order", tooltip="The order, for a sampler.")],
        )

    @classmethod
    def execute(cls, order, repulsion=-1) -> io.NodeOutput:
        return io.NodeOutput(order_named(order, repulsion if repulsion >= 0 else None))


class RandARPaintedOrder(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandARPaintedOrder",
            display_name="RandAR Painted Order",
            category="RandAR",
            description="Draws the bright parts of a mask or picture first, such as the subject before its "
            "surroundings.",
            search_aliases=["order from mask", "order from image", "paint order", "priority", "mask order", "saliency"],
            inputs=[
                io.MultiType.Input(
                    "mask",
                    types=[io.Mask, io.Image],
                    tooltip="A mask or a grey picture of any size: bright cells come first, equally bright ones in "
                    "random order.",
                ),
            ],
            outputs=[OrderSocket.Output(display_name="order", tooltip="The order, for a sampler.")],
        )

    @classmethod
    def execute(cls, mask) -> io.NodeOutput:
        # An IMAGE is [B, H, W, C]; some nodes make masks of [B, 1, H, W].
        if mask.ndim == 4 and (mask.shape[1] > 1 or mask.shape[3] <= 4):
            masks = pixels_of(mask, "picture of the order")[:, :3].mean(1)
        else:
            masks = masks_of(mask, "mask of the order")
        if len(masks) > 1:
            raise ValueError(
                f"A painted order takes one mask or picture; found a batch of {len(masks)}. Pick one of them first."
            )
        return io.NodeOutput(Painted(masks[0].cpu()))
