"""The nodes: the only part that knows ComfyUI."""

from comfy_api.latest import ComfyExtension, io

from .classes import RandARClass, RandARClassBlend, RandARClassList, RandARClassRegion, RandARClassSweep
from .download import RandARDownloadModel
from .extrapolate import RandARExtrapolate
from .features import RandARFeatureMap, RandARFeatureMatch
from .files import register_folder
from .guidance import RandARGuidance
from .inpaint import RandARInpaint
from .load import RandARLoadModel
from .order import RandAROrder, RandARPaintedOrder
from .outpaint import RandARCanvas, RandAROutpaint
from .refine import RandARConfidence, RandARHeatMap, RandARRefine
from .sampler import RandARSampler

register_folder()


class RandARExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            RandARLoadModel,
            RandARClass,
            RandARClassList,
            RandARClassBlend,
            RandARClassRegion,
            RandARClassSweep,
            RandARSampler,
            RandARGuidance,
            RandAROrder,
            RandARPaintedOrder,
            RandARInpaint,
            RandAROutpaint,
            RandARCanvas,
            RandARExtrapolate,
            RandARRefine,
            RandARConfidence,
            RandARHeatMap,
            RandARFeatureMap,
            RandARFeatureMatch,
            RandARDownloadModel,
        ]
