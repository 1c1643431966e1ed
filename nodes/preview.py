"""Live previews: the picture so far, decoded where that is quick, else in the colours of its codes."""

import logging
import math
import time

import comfy.model_management
import torch
import torch.nn.functional as F
from einops import rearrange
from PIL import Image
from torch import Tensor

from ..randar_core.models.tiling import pictures_at_once
from ..randar_core.tasks.blending import push_pull
from .code_colours import code_colours
from .host_memory import memory_ran_out
from .vae import TokenizerVAE

CELL_PIXELS = 16  # largest side of a cell in a preview; ComfyUI scales the preview
BACKGROUND = (20, 20, 20)  # what undrawn cells fade to
BRIGHTNESS = 0.4  # of undrawn cells
LONGEST_PAUSE = 1.0  # seconds that decoding may hold up a run, and an interrupt, at a time
ENOUGH = 1 / 8  # share of a picture's cells that are drawn before it is decoded: of fewer, its colours come out wrong
UNDRAWN = -1  # in place of a token


class Preview:
    """The preview of one run: what was decoded of its pictures so far.

    A picture is decoded anew when there is time for it. Cells that were drawn since then are shown in the colours of
    their codes, and become sharp with the next decoding.
    """

    def __init__(self, vae: TokenizerVAE, decoded: bool):
        self.vae = vae
        self.colours = code_colours(vae)
        self.wants_decoder = decoded
        self.may_decode = False  # `run` allows it where the decoder is loaded
        self.tokens: Tensor | None = None  # `[B, h, w]`, that were decoded last; UNDRAWN elsewhere
        self.decoded: list[Image.Image | None] = []  # for each picture, at the size that is shown
        self.cell_means: Tensor | None = None  # `[B, 3, h, w]`, colours of its cells

    def image(self, tokens: Tensor, size: int) -> Image.Image:
        """The pictures of `tokens` `[B, h, w]` in a grid, cells that are UNDRAWN dimmed.

        tokens: on the CPU.
        size: pixels of the grid's longer side, at most. With cells of one size a large canvas would take gigabytes.
        """
        self.begin(tokens)
        width, height = self.shown_size(size)
        known, same = tokens != UNDRAWN, tokens == self.tokens
        cells = self.colours[tokens.clamp(min=0)].permute(0, 3, 1, 2)
        if any(self.decoded):
            # The colours of codes are estimates. What they differ by in decoded cells is removed from the others.
            cells = cells + push_pull(self.cell_means - cells, known & same)
        cells = push_pull(cells, known).mul(255).clamp(0, 255).to(torch.uint8)
        columns = math.ceil(math.sqrt(len(tokens)))
        sheet = Image.new("RGB", (columns * width, math.ceil(len(tokens) / columns) * height), BACKGROUND)
        background = Image.new("RGB", (width, height), BACKGROUND)
        for index, cell_colours in enumerate(rearrange(cells, "b rgb h w -> b h w rgb")):
            picture = Image.fromarray(cell_colours.numpy()).resize((width, height), Image.Resampling.BICUBIC)
            if self.decoded[index] is not None:
                picture.paste(self.decoded[index], mask=mask_of_cells(same[index], width, height))
            shown = Image.blend(background, picture, BRIGHTNESS)
            shown.paste(picture, mask=mask_of_cells(known[index], width, height))
            sheet.paste(shown, (index % columns * width, index // columns * height))
        return sheet

    def decode(self, tokens: Tensor, size: int, seconds: float) -> float:
        """Decode the pictures that changed most since they were decoded, as many as `seconds` allow for.

        tokens, size: as for `image`.

        Nothing is decoded where the decoder isn't loaded, or where less memory is free than it takes. Returns the
        seconds that it took.
        """
        self.begin(tokens)
        changed = (tokens != self.tokens).flatten(1).sum(1)
        changed[(tokens != UNDRAWN).flatten(1).to(torch.float32).mean(1) < ENOUGH] = 0
        count = min(int(min(seconds, LONGEST_PAUSE) / self.seconds_each(tokens)), int(changed.count_nonzero()))
        if count < 1 or not self.may_decode or not self.fits(tokens, count):
            return 0.0
        began = time.perf_counter()
        index = changed.topk(count).indices
        known = tokens[index] != UNDRAWN
        vectors = push_pull(self.vae.codebook.vectors(tokens[index].clamp(min=0)), known)
        try:
            pixels = self.vae.decode_on_device(vectors, torch.device("cpu"))
        except Exception as error:
            if not memory_ran_out(error):
                raise
            self.may_decode = False
        if not self.may_decode:  # outside the handler, where the traceback has released what was allocated
            comfy.model_management.soft_empty_cache()
            logging.info("RandAR: there is not enough memory to decode previews. This run goes on without.")
            return time.perf_counter() - began
        means = F.avg_pool2d(pixels, self.vae.factor)
        self.tokens[index], self.cell_means[index] = tokens[index], means
        # What was fitted is replaced by what was seen, for this run and the next ones.
        seen = rearrange(means, "b rgb h w -> b h w rgb")[known]
        self.colours = self.vae.code_colours = self.colours.index_put((tokens[index][known],), seen)
        shown = self.shown_size(size)
        for number, picture in zip(index.tolist(), (pixels * 255).to(torch.uint8), strict=True):
            image = Image.fromarray(rearrange(picture, "rgb h w -> h w rgb").numpy())
            self.decoded[number] = image.resize(shown, Image.Resampling.BICUBIC)
        return time.perf_counter() - began

    def seconds_of_all(self, tokens: Tensor) -> float:
        """Estimated seconds that decoding all pictures takes, as far as they may take; 0 where none is decoded."""
        each = self.seconds_each(tokens)
        return min(int(LONGEST_PAUSE / each), len(tokens)) * each if self.may_decode else 0.0

    def seconds_each(self, tokens: Tensor) -> float:
        return max(1e-6, self.vae.decode_seconds * self.vae.computed_cells(*tokens.shape[1:]))

    def fits(self, tokens: Tensor, count: int) -> bool:
        """Whether as much memory is free as decoding `count` pictures takes."""
        sides = [side * self.vae.factor for side in tokens.shape[1:]]
        together = min(count, pictures_at_once(*sides, self.vae.device))
        free = comfy.model_management.get_free_memory(self.vae.device)
        return together * self.vae.decode_bytes(*sides) <= free

    def begin(self, tokens: Tensor) -> None:
        """Forget what was decoded of a canvas of another shape."""
        if self.tokens is None or self.tokens.shape != tokens.shape:
            self.tokens = torch.full_like(tokens, UNDRAWN)
            self.decoded = [None] * len(tokens)
            self.cell_means = torch.zeros(len(tokens), 3, *tokens.shape[1:], dtype=torch.float32, device="cpu")

    def shown_size(self, size: int) -> tuple[int, int]:
        """Width and height of a picture of the sheet in pixels."""
        batch, height, width = self.tokens.shape
        columns = math.ceil(math.sqrt(batch))
        scale = min(CELL_PIXELS, size / max(columns * width, math.ceil(batch / columns) * height))
        scale = int(scale) if scale > 1 else scale
        return max(1, int(width * scale)), max(1, int(height * scale))


def mask_of_cells(cells: Tensor, width: int, height: int) -> Image.Image:
    """`cells` `[h, w]` bool as a mask of `width` × `height` pixels."""
    return Image.fromarray(cells.to(torch.uint8).mul(255).numpy()).resize((width, height), Image.Resampling.NEAREST)
