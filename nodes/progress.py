"""What happens after each call of the model: interrupt, progress bar and live preview."""

import math
import time
from collections import deque

import comfy.model_management
import comfy.utils
import torch
from comfy.cli_args import LatentPreviewMethod, args
from PIL import Image

from ..randar_core.decoding.loop import DecodeProgress
from .preview import cell_sheet, code_colours
from .vae import TokenizerVAE

SECONDS_BETWEEN_PREVIEWS = 0.2
PREVIEW_SHARE = 0.05  # largest share of the run's time; where a preview takes longer, fewer are shown
CALLS_IN_FLIGHT = 8  # calls that may wait on a GPU: enough to keep it busy, few enough to stop soon


class Progress:
    """The `on_step` of a task whose tokens belong to `vae`; `on_score` is that of its scoring passes."""

    def __init__(self, vae: TokenizerVAE):
        self.colours = code_colours(vae) if args.preview_method != LatentPreviewMethod.NoPreviews else None
        self.bar: comfy.utils.ProgressBar | None = None
        self.scoring_bar: comfy.utils.ProgressBar | None = None
        self.next_preview = -math.inf
        self.in_flight = InFlight()

    def __call__(self, progress: DecodeProgress) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        self.in_flight.add(progress.ids.device)
        if self.bar is None:
            self.bar = comfy.utils.ProgressBar(progress.calls)
        began, preview = time.monotonic(), None
        if self.colours is not None and (began >= self.next_preview or progress.call == progress.calls):
            self.in_flight.wait()  # for the picture; this time is not a cost of the preview
            began = time.monotonic()
            preview = self.preview(progress)
        self.bar.update_absolute(progress.call, progress.calls, preview)
        if preview is not None:
            ended = time.monotonic()
            self.next_preview = ended + max(SECONDS_BETWEEN_PREVIEWS, (ended - began) / PREVIEW_SHARE)

    def on_score(self, done: int, total: int) -> None:
        """`done` of `total` windows are scored. They have a progress bar of their own where there are several."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        if self.scoring_bar is None and done < total:
            self.scoring_bar = comfy.utils.ProgressBar(total)
        if self.scoring_bar is not None:
            self.scoring_bar.update_absolute(done, total)
        if done == total:
            self.scoring_bar = None

    def preview(self, progress: DecodeProgress) -> tuple[str, Image.Image, int]:
        image = cell_sheet(self.colours, progress.ids.cpu(), progress.known.cpu(), args.preview_size)
        return ("JPEG", image, args.preview_size)


class InFlight:
    """The calls that a GPU was given and has not finished.

    A GPU works through a queue while the CPU continues. Without a bound the bar would be full, and an interrupt would
    come too late, before the GPU has begun. Each call leaves an event; waiting for the event of `CALLS_IN_FLIGHT` calls
    ago leaves the GPU that many calls to do.
    """

    def __init__(self):
        self.events: deque[torch.cuda.Event] = deque()

    def add(self, device: torch.device) -> None:
        """A call was given to `device`."""
        if device.type == "cuda":
            self.events.append(torch.cuda.current_stream(device).record_event())
            if len(self.events) > CALLS_IN_FLIGHT:
                self.events.popleft().synchronize()

    def wait(self) -> None:
        """Wait until the device has finished all calls."""
        while self.events:
            self.events.popleft().synchronize()
