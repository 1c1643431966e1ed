"""The socket types of this pack, for what ComfyUI has no type of its own."""

from comfy_api.latest import io

ModelSocket = io.Custom("RANDAR_MODEL")
ClassSocket = io.Custom("RANDAR_CLASS")
OrderSocket = io.Custom("RANDAR_ORDER")
GuidanceSocket = io.Custom("RANDAR_GUIDANCE")
