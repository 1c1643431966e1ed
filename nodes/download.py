"""Download Model: fetches a released model and its tokenizer, when and only when this node is run."""

import folder_paths
from comfy_api.latest import io, ui

from ..randar_core.checkpoints.download import download
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
        fetched = [download(name, folder) for name in (chosen.name, chosen.tokenizer) if name]
        lines = [f"{path.name} is in {path.parent}." for path in fetched]
        return io.NodeOutput(fetched[0].name, ui=ui.PreviewText("\n".join(lines)))
