"""Download Model: fetches a released model and its tokenizer, only when this node runs."""

from pathlib import Path

import comfy.model_management
import comfy.utils
import folder_paths
from comfy_api.latest import io, ui

from ..randar_core.checkpoints.download import DownloadError, download
from ..randar_core.checkpoints.releases import RELEASES, find_release
from .files import FOLDER


class RandARDownloadModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="RandARDownloadModel",
            display_name="Download RandAR Model",
            category="RandAR",
            description="Fetches a released model and its tokenizer into models/randar. No other node downloads: "
            "delete this node when it has run, press R, and choose the file in Load RandAR Model.",
            search_aliases=["download", "fetch model", "huggingface", "get weights"],
            is_output_node=True,
            inputs=[
                io.Combo.Input(
                    "release",
                    options=[release.name for release in RELEASES if release.file],
                    tooltip="The release to fetch. The tokenizer of a transformer is fetched with it.",
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="file_name", tooltip="The name of the file, as Load RandAR Model lists it."
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, release):
        """Run again when a file is missing or has been replaced."""
        files = [download_folder() / find_release(name).file for name in releases_of(release)]
        return [file.stat().st_mtime if file.exists() else None for file in files]

    @classmethod
    def execute(cls, release) -> io.NodeOutput:
        paths = [fetch(name) for name in releases_of(release)]
        lines = [f"{path.name} is in {path.parent}." for path in paths]
        return io.NodeOutput(paths[0].name, ui=ui.PreviewText("\n".join(lines)))


def download_folder() -> Path:
    """Where downloads go: `models/randar`, or the first folder of `randar` in `extra_model_paths.yaml`."""
    return Path(folder_paths.get_folder_paths(FOLDER)[0])


def releases_of(name: str) -> list[str]:
    """The releases that belong together: the one of this name, and a transformer's tokenizer."""
    return [each for each in (name, find_release(name).tokenizer) if each]


def fetch(name: str) -> Path:
    """`download` with ComfyUI's progress bar and interrupt. The next run continues an interrupted download."""
    bar = comfy.utils.ProgressBar(1)

    def on_bytes(received: int, size: int | None) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(received, size or received)

    try:
        return download(name, str(download_folder()), on_bytes)
    except DownloadError as error:
        # In ComfyUI 0.12 the interrupt is an Exception, so the download takes it for its own failure.
        if isinstance(error.__cause__, comfy.model_management.InterruptProcessingException):
            raise error.__cause__ from None
        raise
