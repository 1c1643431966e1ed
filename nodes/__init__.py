"""The nodes: the only part that knows ComfyUI."""

from comfy_api.latest import ComfyExtension, io

from .classes import ChooseClass, ListClasses
from .download import DownloadModel
from .extrapolate import Extrapolate
from .files import register_folder
from .guidance import ChooseGuidance
from .inpaint import Inpaint
from .load import LoadModel
from .order import ChooseOrder, PaintOrder
from .outpaint import DrawCanvas, Outpaint
from .refine import Confidence, HeatMap, Refine
from .sampler import Sampler

register_folder()


class RandARExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            LoadModel,
            ChooseClass,
            ListClasses,
            Sampler,
            ChooseGuidance,
            ChooseOrder,
            PaintOrder,
            Inpaint,
            Outpaint,
            DrawCanvas,
            Extrapolate,
            Refine,
            Confidence,
            HeatMap,
            DownloadModel,
        ]
