"""Feature Map and Feature Match: what the model knows about a picture, seen from all sides."""

import torch
import torch.nn.functional as F
from comfy_api.latest import io
from torch import Tensor

from ..randar_core.decoding.canvas import cells_of_mask
from ..randar_core.decoding.conditions import PictureGroup
from ..randar_core.decoding.guidance import UNGUIDED
from ..randar_core.decoding.options import DecodingOptions
from ..randar_core.io.images import heat_map
from ..randar_core.tasks.features import default_layer, feature_map, features, match
from ..randar_core.tasks.inpaint import THRESHOLD
from .convert import image_of, masks_of, pixels_of, repeated, to_host
from .loaded_model import LoadedModel
from .run import Workload, run
from .sockets import ModelSocket
from .widgets import mask_threshold_widget


def layer_widget() -> io.Int.Input:
    return io.Int.Input(
        "layer",
        default=0,
        min=0,
        max=64,
        advanced=True,
        tooltip="The layer of the model that is read. 0: the layer that is best for this, about a third up.",
    )


def orders_widget() -> io.Int.Input:
    return io.Int.Input(
        "orders",
        default=1,
        min=1,
        max=16,
        advanced=True,
        tooltip="Random orders in which the picture is read. The features are their mean: steadier, but slower.",
    )


class RandARFeatureMap(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandARFeatureMap",
            display_name="RandAR Feature Map",
            category="RandAR",
            description="Shows the features of pictures as colours: objects and parts that are alike have one colour.",
            search_aliases=["features", "feature map", "pca", "segmentation", "dino", "visualize", "semantic"],
            inputs=[
                ModelSocket.Input("model", tooltip="The model that reads the pictures. RAR models have no features."),
                io.Image.Input("image", tooltip="The pictures, of any size. They are scaled to the model's own size."),
                layer_widget(),
                orders_widget(),
            ],
            outputs=[
                io.Image.Output(
                    display_name="feature_map",
                    tooltip="The three main components of the features as red, green and blue, at the pictures' size. "
                    "Colours mean the same in all pictures of the batch.",
                )
            ],
        )

    @classmethod
    def execute(cls, model, image, layer=0, orders=1) -> io.NodeOutput:
        pixels = pixels_of(image)
        colours = feature_map(read(model, pixels, layer, orders))
        return io.NodeOutput(image_of(F.interpolate(colours, tuple(pixels.shape[2:]), mode="nearest-exact")))


class RandARFeatureMatch(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandARFeatureMatch",
            display_name="RandAR Feature Match",
            category="RandAR",
            description="Finds a part of one picture in another one. The mask goes into RandAR Inpaint as it is.",
            search_aliases=["feature match", "correspondence", "find part", "segment by example", "mask transfer"],
            inputs=[
                ModelSocket.Input("model", tooltip="The model that reads the pictures. RAR models have no features."),
                io.Image.Input("image", tooltip="The pictures in which a part is marked, of any size."),
                io.Mask.Input("mask", tooltip="The marked part."),
                io.Image.Input(
                    "target",
                    tooltip="The pictures to search, of any size. Pictures and masks repeat, one for each target.",
                ),
                layer_widget(),
                orders_widget(),
                mask_threshold_widget(),
            ],
            outputs=[
                io.Mask.Output(
                    display_name="mask",
                    tooltip="The part in the targets, at their size: cells that are more like a marked cell than like "
                    "any other cell of the picture with the marked part.",
                ),
                io.Image.Output(
                    display_name="heat_map", tooltip="The similarity to the marked part: dark is low, yellow is high."
                ),
            ],
        )

    @classmethod
    def execute(cls, model, image, mask, target, layer=0, orders=1, mask_threshold=THRESHOLD) -> io.NodeOutput:
        sources, targets, masks = pixels_of(image), pixels_of(target, "target"), masks_of(mask)
        count, grid = len(targets), model.grid
        masked = masks > mask_threshold
        marked = F.adaptive_avg_pool2d(masked.to(torch.float32)[:, None], grid)[:, 0] > 0.5
        # A part smaller than half a cell is the cells that it touches.
        marked = torch.where(marked.flatten(1).any(1)[:, None, None], marked, cells_of_mask(masked, grid, grid))
        read_sources = repeated(read(model, sources, layer, orders), count)
        read_targets = read(model, targets, layer, orders)
        found = [match(*each) for each in zip(read_sources, repeated(marked, count), read_targets, strict=True)]
        size = tuple(targets.shape[2:])
        masks = torch.stack([each.mask for each in found]).to(torch.float32)
        similarity = torch.stack([each.similarity for each in found]).clamp(0, 1)
        return io.NodeOutput(
            to_host(F.interpolate(masks[:, None], size, mode="nearest-exact")[:, 0]),
            image_of(heat_map(similarity, *size)),
        )


def read(model: LoadedModel, pixels: Tensor, layer: int, orders: int) -> Tensor:
    """Features `[B, g, g, D]` on the CPU of pictures `[B, C, H, W]`, scaled to the model's own size."""
    chosen = layer or default_layer(model.transformer)
    size, options = (model.side, model.side), DecodingOptions(UNGUIDED, steps=1, seed=0)

    def task(options, progress) -> Tensor:
        chunks = pixels[:, :3].split(options.batch_size or len(pixels))
        read_chunks = []
        for index, chunk in enumerate(chunks):
            scaled = F.interpolate(chunk.to(model.device), size, mode="bicubic", antialias=True).clamp(0, 1)
            ids = model.vae.for_tasks.encode(scaled).to(model.device)
            read_chunks.append(features(model.transformer, ids, chosen, orders).cpu())
            progress.on_score(index + 1, len(chunks))
        return torch.cat(read_chunks)

    workload = Workload(
        pictures=len(pixels),
        groups=[PictureGroup(len(pixels), rows=1, conditions=1)],
        cells=model.grid**2,
        passes=("features",),
        coded_size=size,
    )
    return run(model, workload, options, task)
