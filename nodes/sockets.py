"""The pack's own sockets, for what ComfyUI has no word for."""

from comfy_api.latest import io

RandARModel = io.Custom("RANDAR_MODEL")
RandARClass = io.Custom("RANDAR_CLASS")
RandAROrder = io.Custom("RANDAR_ORDER")
RandARGuidance = io.Custom("RANDAR_GUIDANCE")
