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
    def fingerprint_inputs(cls, release):
        """Run again when a file has gone or been replaced."""
        files = [folder() / find_release(name).file for name in names_of(release)]
        return [file.stat().st_mtime if file.exists() else None for file in files]

    @classmethod
    def execute(cls, release) -> io.NodeOutput:
        fetched = [fetch(name) for name in names_of(release)]
        lines = [f"{path.name} is in {path.parent}." for path in fetched]
        return io.NodeOutput(fetched[0].name, ui=ui.PreviewText("\n".join(lines)))


def folder() -> Path:
    """Where downloads go: `models/randar`, or the first folder of `randar` in `extra_model_paths.yaml`."""
    return Path(folder_paths.get_folder_paths(FOLDER)[0])


def names_of(release: str) -> list[str]:
    """The releases that come with one: itself, and a decoder's tokenizer."""
    return [name for name in (release, find_release(release).tokenizer) if name]


def fetch(name: str) -> Path:
    """`download` with ComfyUI's progress bar and interrupt; an interrupted download goes on when it is run again."""
    bar = comfy.utils.ProgressBar(1)

    def on_bytes(come: int, size: int | None) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(come, size or come)

    try:
        return download(name, str(folder()), on_bytes)
    except DownloadError as error:
        # In ComfyUI 0.12 the interrupt is an Exception, and thus what the download stopped for.
        if isinstance(error.__cause__, comfy.model_management.InterruptProcessingException):
            raise error.__cause__ from None
        raise
