"""The few functions of ComfyUI that the nodes use, so that they are tested where no ComfyUI is.

The same tests run inside the real one (`make test-comfyui`), which keeps this honest.
"""

import os
import sys
import types
from enum import Enum
from pathlib import Path

import torch


class InterruptProcessingException(BaseException):
    pass


class Patcher:
    def __init__(self, model, load_device, offload_device):
        self.model, self.load_device, self.offload_device = model, load_device, offload_device
        self.size = 0

    def is_dynamic(self):
        return False

    def get_free_memory(self, device):
        return sys.modules["comfy.model_management"].get_free_memory(device)

    def loaded_size(self):
        return self.model_size()

    def detach(self, unpatch_all=True):
        self.model.to(self.offload_device)

    def model_size(self):
        return self.size or sum(parameter.nbytes for parameter in self.model.parameters())


class Input:
    def __init__(self, id, **settings):
        self.id, self.optional = id, settings.pop("optional", False)
        self.tooltip, self.options = settings.pop("tooltip", None), settings.pop("options", None)
        for name, value in settings.items():
            setattr(self, name, value)


class Output:
    def __init__(self, id=None, display_name=None, tooltip=None, is_output_list=False):
        self.id, self.display_name, self.tooltip = id, display_name, tooltip


class Schema:
    def __init__(self, node_id, display_name=None, category="sd", inputs=(), outputs=(), **rest):
        self.node_id, self.display_name, self.category = node_id, display_name, category
        self.inputs, self.outputs = list(inputs), list(outputs)
        self.description, self.search_aliases = rest.pop("description", ""), rest.pop("search_aliases", [])
        self.is_output_node, self.is_experimental = (
            rest.pop("is_output_node", False),
            rest.pop("is_experimental", False),
        )
        if rest:
            raise TypeError(f"Schema has no {', '.join(rest)}")


class ComfyNode:
    @classmethod
    def GET_SCHEMA(cls):  # noqa: N802
        return cls.define_schema()


class NodeOutput:
    def __init__(self, *result, ui=None):
        self.result, self.ui = result, ui


class ProgressBar:
    def __init__(self, total, node_id=None):
        self.total, self.hook = total, sys.modules["comfy.utils"].PROGRESS_BAR_HOOK

    def update_absolute(self, value, total=None, preview=None):
        if self.hook is not None:
            self.hook(value, total or self.total, preview, node_id=None)


def tiled_scale(samples, function, tile_x, tile_y, overlap, upscale_amount, out_channels, output_device, pbar=None):
    """Tiles that overlap, faded into one another, picture by picture."""
    if len(samples) > 1:
        rest = function, tile_x, tile_y, overlap, upscale_amount, out_channels, output_device
        return torch.cat([tiled_scale(sample, *rest) for sample in samples.split(1)])
    height, width = (round(side * upscale_amount) for side in samples.shape[2:])
    out = torch.zeros(len(samples), out_channels, height, width, device=output_device)
    weight = torch.zeros_like(out)
    for top in range(0, max(1, samples.shape[2] - overlap), tile_y - overlap):
        for left in range(0, max(1, samples.shape[3] - overlap), tile_x - overlap):
            tile = function(samples[:, :, top : top + tile_y, left : left + tile_x]).to(output_device)
            y, x = round(top * upscale_amount), round(left * upscale_amount)
            out[:, :, y : y + tile.shape[2], x : x + tile.shape[3]] += tile
            weight[:, :, y : y + tile.shape[2], x : x + tile.shape[3]] += 1
    return out / weight


def undrawn_layers() -> types.SimpleNamespace:
    """torch's layers, whose weights nobody draws."""
    names = "Conv2d Embedding GroupNorm LayerNorm Linear RMSNorm".split()
    undrawn = {"reset_parameters": lambda self: None}
    return types.SimpleNamespace(**{name: type(name, (getattr(torch.nn, name),), undrawn) for name in names})


def install(models: Path) -> None:
    """Put the fake modules into `sys.modules`, with `models` as the models folder."""
    cpu = torch.device("cpu")
    state = types.SimpleNamespace(interrupted=False)

    def throw_exception_if_processing_interrupted():
        if state.interrupted:
            state.interrupted = False
            raise InterruptProcessingException

    folders: dict[str, tuple[list, set]] = {}

    def get_filename_list(folder):
        paths, extensions = folders[folder]
        found = [p.relative_to(root) for root in map(Path, paths) for p in root.rglob("*") if p.suffix in extensions]
        return sorted(map(str, found))

    def get_full_path_or_raise(folder, name):
        for root in folders[folder][0]:
            if (Path(root) / name).is_file():
                return str(Path(root) / name)
        raise FileNotFoundError(f"Model in folder '{folder}' with filename '{name}' not found.")

    preview_method = Enum("LatentPreviewMethod", {"NoPreviews": "none", "Auto": "auto", "Latent2RGB": "latent2rgb"})
    own_type = lambda name: types.SimpleNamespace(Input=Input, Output=Output, io_type=name)  # noqa: E731
    modules = {
        "comfy": {},
        "comfy.memory_management": {"aimdo_allocator": None},
        "comfy.model_management": {
            "get_torch_device": lambda: cpu,
            "unet_offload_device": lambda: cpu,
            "vae_device": lambda: cpu,
            "vae_offload_device": lambda: cpu,
            "vae_dtype": lambda device, allowed_dtypes: allowed_dtypes[0],
            "intermediate_device": lambda: cpu,
            "FORCE_FP32": False,
            "should_use_bf16": lambda device: False,
            "should_use_fp16": lambda device: False,
            "get_free_memory": lambda device: 2**33,
            "minimum_inference_memory": lambda: 2**30,
            "load_models_gpu": lambda models, memory_required=0, force_full_load=False: None,
            "soft_empty_cache": lambda: None,
            "unload_all_models": lambda: None,
            "archive_model_dtypes": lambda model: None,
            "OOM_EXCEPTION": torch.OutOfMemoryError,
            "InterruptProcessingException": InterruptProcessingException,
            "interrupt_current_processing": lambda value=True: setattr(state, "interrupted", value),
            "throw_exception_if_processing_interrupted": throw_exception_if_processing_interrupted,
        },
        "comfy.model_patcher": {"CoreModelPatcher": Patcher, "ModelPatcher": Patcher},
        "comfy.ops": {"disable_weight_init": undrawn_layers()},
        "comfy.utils": {"ProgressBar": ProgressBar, "PROGRESS_BAR_HOOK": None, "tiled_scale": tiled_scale},
        "comfy.cli_args": {
            "LatentPreviewMethod": preview_method,
            "args": types.SimpleNamespace(preview_method=preview_method.NoPreviews, preview_size=512),
        },
        "comfy_api": {},
        "comfy_api.latest": {
            "ComfyExtension": object,
            "io": types.SimpleNamespace(
                **{
                    name: own_type(name)
                    for name in "Combo Int Float String Boolean Image Mask Latent Vae MultiType".split()
                },
                Custom=own_type,
                Input=Input,
                Output=Output,
                Schema=Schema,
                ComfyNode=ComfyNode,
                NodeOutput=NodeOutput,
            ),
            "ui": types.SimpleNamespace(PreviewText=lambda text: {"text": (text,)}),
        },
        "folder_paths": {
            "models_dir": str(models),
            "folder_names_and_paths": folders,
            "add_model_folder_path": lambda name, path: folders.setdefault(name, ([path], set())),
            "get_folder_paths": lambda name: folders[name][0],
            "get_filename_list": get_filename_list,
            "get_full_path_or_raise": get_full_path_or_raise,
        },
    }
    for name, members in modules.items():
        module = types.ModuleType(name)
        module.__dict__.update(members)
        sys.modules[name] = module
        parent, _, own = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], own, module)


def use_real_host(comfyui: str, models: Path) -> None:
    """Import the real ComfyUI from its folder instead, on the CPU, with `models` as the models folder."""
    sys.path.insert(0, comfyui)
    arguments, sys.argv = sys.argv, sys.argv[:1]
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    from comfy.cli_args import args

    args.cpu = True
    import folder_paths

    folder_paths.models_dir = str(models)
    import comfy.model_management  # noqa: F401

    sys.argv = arguments
