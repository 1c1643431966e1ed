"""Download Model: fetches a released model and its tokenizer, when and only when this node is run."""

from pathlib import Path

import comfy.model_management
import comfy.utils
import folder_paths
from comfy_api.latest import io, ui

from ..randar_core.checkpoints.download import DownloadError, download
from ..randar_core.checkpoints.releases import RELEASES, find_release
from .files import FOLDER


class DownloadModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandARDownloadModel",
            display_name="Download RandAR Model",
            category="RandAR",
            description="Fetches a released model and its tokenizer into models/randar. Nothing else ever downloads: "
            "delete the node when it has run, press R, and choose the file in Load Model.",
            search_aliases=["download", "fetch model", "huggingface", "get weights"],
            is_output_node=True,
            inputs=[
                io.Combo.Input(
                    "release",
                    options=[release.name for release in RELEASES if release.file],
                    tooltip="What to fetch. A decoder brings its tokenizer with it.",
                ),
            ],
            outputs=[
                io.String.Output(display_name="file_name", tooltip="The file's name, as Load Model lists it."),
            ],
        )

    @classmethod
    def execute(cls, release) -> io.NodeOutput:
        chosen = find_release(release)
        folder = folder_paths.get_folder_paths(FOLDER)[0]
        fetched = [fetch(name, folder) for name in (chosen.name, chosen.tokenizer) if name]
        lines = [f"{path.name} is in {path.parent}." for path in fetched]
        return io.NodeOutput(fetched[0].name, ui=ui.PreviewText("\n".join(lines)))


def fetch(name: str, folder: str) -> Path:
    """`download` with ComfyUI's progress bar and interrupt; an interrupted download goes on when it is run again."""
    bar = comfy.utils.ProgressBar(1)

    def on_bytes(come: int, size: int | None) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(come, size or come)

    try:
        return download(name, folder, on_bytes)
    except DownloadError as error:
        # In ComfyUI 0.12 the interrupt is an Exception, and thus what the download stopped for.
        if isinstance(error.__cause__, comfy.model_management.InterruptProcessingException):
            raise error.__cause__ from None
        raise
