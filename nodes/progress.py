"""What happens after each call of the model: interrupt, progress bar and live preview."""

import time
from collections import deque

import comfy.model_management
import comfy.utils
import torch
from comfy.cli_args import LatentPreviewMethod, args

from ..randar_core.decoding.loop import DecodeProgress
from .preview import UNDRAWN, Preview
from .preview_time import PreviewTime
from .vae import TokenizerVAE

CALLS_IN_FLIGHT = 8  # calls that may wait on a GPU: enough to keep it busy, few enough to stop soon


class Progress:
    """The `on_step` of a task whose tokens belong to `vae`; `on_score` is that of its scoring passes."""

    def __init__(self, vae: TokenizerVAE):
        self.preview: Preview | None = None
        if args.preview_method != LatentPreviewMethod.NoPreviews:
            # Who chose Latent2RGB chose quick colours, as with other models.
            self.preview = Preview(vae, decoded=args.preview_method != LatentPreviewMethod.Latent2RGB)
        self.bar: comfy.utils.ProgressBar | None = None
        self.scoring_bar: comfy.utils.ProgressBar | None = None
        self.time = PreviewTime()
        self.in_flight = InFlight()

    def __call__(self, progress: DecodeProgress) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        self.in_flight.add(progress.ids.device)
        if self.bar is None:
            self.bar = comfy.utils.ProgressBar(progress.calls)
        self.time.count_call()
        left = progress.calls - progress.call
        if self.preview is None or not self.time.is_due(left):
            self.bar.update_absolute(progress.call, progress.calls)
        else:
            self.in_flight.wait()  # for the picture; this time is not a cost of the preview
            self.show(progress, left)

    def show(self, progress: DecodeProgress, calls_left: int) -> None:
        """Show a preview, decoded as far as there is time for it."""
        began, size = time.perf_counter(), args.preview_size
        tokens = torch.where(progress.known, progress.ids, UNDRAWN).cpu()
        for_last = self.preview.seconds_of_all(tokens) if calls_left else 0.0
        decoding = self.preview.decode(tokens, size, self.time.left_to_decode(calls_left, for_last))
        image = self.preview.image(tokens, size)
        self.bar.update_absolute(progress.call, progress.calls, ("JPEG", image, size))
        self.time.add(time.perf_counter() - began, decoding)

    def on_score(self, done: int, total: int) -> None:
        """`done` of `total` windows are scored. They have a progress bar of their own where there are several."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        if self.scoring_bar is None and done < total:
            self.scoring_bar = comfy.utils.ProgressBar(total)
        if self.scoring_bar is not None:
            self.scoring_bar.update_absolute(done, total)
        if done == total:
            self.scoring_bar = None


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
