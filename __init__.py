"""The door of the node pack: ComfyUI calls `comfy_entrypoint` and asks it for the nodes.

Nothing is imported until then, because pytest takes this folder for a package and loads this file before any test.
"""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    from .nodes import RandARExtension

    return RandARExtension()
