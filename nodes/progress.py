"""What happens after each call of a decode: the interrupt, the progress bar and the live preview."""

import math
import time
from collections import deque

import comfy.model_management
import comfy.utils
import torch
from comfy.cli_args import LatentPreviewMethod, args
from einops import rearrange, repeat
from PIL import Image
from torch import Tensor

from ..randar_core.decoding.loop import Decoded
from .vae import TokenizerVAE

SECONDS_BETWEEN_PREVIEWS = 0.2
SHARE_OF_PREVIEWS = 0.05  # of the run at most; where a preview takes longer, fewer are shown
CELL_PIXELS = 16  # of a preview at most; ComfyUI scales it
UNSET = 32  # grey level of cells that are not drawn yet
CALLS_AHEAD = 8  # calls that a graphics card may have waiting: enough that it never does, few enough to stop soon
CODES_LEARNT = 32  # codes that are decoded to learn colours from: the work of a picture at most


class Progress:
    """The `on_call` of a task that decodes with `vae`'s tokens."""

    def __init__(self, vae: TokenizerVAE):
        self.colours = colours_of(vae) if args.preview_method != LatentPreviewMethod.NoPreviews else None
        self.bar: comfy.utils.ProgressBar | None = None
        self.scoring: comfy.utils.ProgressBar | None = None
        self.next_preview = -math.inf
        self.lead = Lead()

    def __call__(self, decoded: Decoded) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        self.lead.add(decoded.ids.device)
        if self.bar is None:
            self.bar = comfy.utils.ProgressBar(decoded.calls)
        began, preview = time.monotonic(), None
        if self.colours is not None and (began >= self.next_preview or decoded.call == decoded.calls):
            self.lead.wait()  # for the picture, which is no cost of the preview
            began = time.monotonic()
            preview = self.preview(decoded)
        self.bar.update_absolute(decoded.call, decoded.calls, preview)
        if preview is not None:
            ended = time.monotonic()
            self.next_preview = ended + max(SECONDS_BETWEEN_PREVIEWS, (ended - began) / SHARE_OF_PREVIEWS)

    def scored(self, done: int, of: int) -> None:
        """`done` windows are scored: an `on_scored`, with a bar of its own where more are to come."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        if self.scoring is None and done < of:
            self.scoring = comfy.utils.ProgressBar(of)
        if self.scoring is not None:
            self.scoring.update_absolute(done, of)
        if done == of:
            self.scoring = None

    def preview(self, decoded: Decoded) -> tuple[str, Image.Image, int]:
        image = sheet(self.colours, decoded.ids.cpu(), decoded.known.cpu(), args.preview_size)
        return ("JPEG", image, args.preview_size)


class Lead:
    """How far the host is ahead of a graphics card, which does what it is told behind the host's back.

    Unbounded, the bar would be full and an interrupt too late before the card has begun. An event a call tells how far
    the card is; to wait for one that is `CALLS_AHEAD` calls old leaves the card as much to do.
    """

    def __init__(self):
        self.events: deque[torch.cuda.Event] = deque()

    def add(self, device: torch.device) -> None:
        """A call was given to `device`."""
        if device.type == "cuda":
            self.events.append(torch.cuda.current_stream(device).record_event())
            if len(self.events) > CALLS_AHEAD:
                self.events.popleft().synchronize()

    def wait(self) -> None:
        """Until the device has done all calls."""
        while self.events:
            self.events.popleft().synchronize()


def sheet(colours: Tensor, ids: Tensor, known: Tensor, size: int) -> Image.Image:
    """Tokens `[B, h, w]` as coloured cells, the pictures of a batch side by side; cells not `known` are dark.

    Cells are as large as fits in `size` pixels a side: at one size for all, large canvases would take gigabytes.
    """
    cells = torch.where(known.unsqueeze(-1), colours[ids * known], UNSET)
    columns = math.ceil(math.sqrt(len(cells)))
    cells = torch.cat([cells, torch.full_like(cells[:1], UNSET).repeat(-len(cells) % columns, 1, 1, 1)])
    cells = rearrange(cells, "(r c) h w rgb -> (r h) (c w) rgb", c=columns).to(torch.uint8)
    image = Image.fromarray(cells.numpy())
    scale = min(CELL_PIXELS, max(1, size // max(image.size)))
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def colours_of(vae: TokenizerVAE) -> Tensor:
    """A colour a code, `[V, 3]` in 0…255: a linear map of its vector, learnt from small pictures of one code each."""
    if vae.colours is None:
        codes = vae.codebook.rows(torch.arange(vae.codebook.size))
        learnt = torch.randperm(len(codes), generator=torch.Generator().manual_seed(0))[:CODES_LEARNT]
        side = 1 if vae.first_stage_model.margin else 2  # either way a cell lies amid its like
        seen = vae.decode_ids(repeat(learnt, "n -> n h w", h=side, w=side)).mean((2, 3)).cpu()
        centre, mean = codes.mean(0), seen.mean(0)
        vectors = codes[learnt] - centre
        # Ridge regression: there may be more channels than codes to learn from.
        damping = 0.05 * vectors.square().sum(0).mean() * torch.eye(len(centre))
        slope = torch.linalg.solve(vectors.T @ vectors + damping, vectors.T @ (seen - mean))
        vae.colours = ((codes - centre) @ slope + mean).clamp(0, 1) * 255
    return vae.colours
