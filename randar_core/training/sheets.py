"""Sample sheets: how far a training is, as a picture."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..checkpoints.model import Model
from ..decoding.options import DecodingOptions
from ..decoding.sampling import Sampling
from ..io.images import contact_sheet, save_png, to_float
from ..models.tokenizer import Tokenizer
from ..runtime.capabilities import mixed_precision
from ..tasks.generate import generate


def sheet_file(folder: Path, step: int) -> Path:
    return folder / f"samples-{step:06}.png"


def reconstruction_sheets(tokenizer: Tokenizer, pictures, folder: Path, device: torch.device) -> Callable[[int], None]:
    """Draws the sheet of a step: the first pictures, each row above the row of their reconstructions."""
    columns = min(12, len(pictures))
    # Two rows where there are as many; below a row that isn't full, reconstructions would slip into it.
    count = 24 if len(pictures) >= 24 else columns
    shown = to_float(np.stack([pictures[i][0] for i in range(count)]))

    def sheet(step: int) -> None:
        with torch.no_grad(), mixed_precision(device):
            decoded = tokenizer.decode(tokenizer.encode(shown.to(device))).float().cpu()
        pairs = torch.cat([torch.cat(rows) for rows in zip(shown.split(columns), decoded.split(columns), strict=True)])
        save_png(sheet_file(folder, step), contact_sheet(pairs, columns))

    return sheet


@torch.inference_mode()
def draw_samples(model: Model, classes: list[int], seed: int, device: torch.device) -> Tensor:
    """Pictures [B, 3, H, W] of `classes` on the CPU, as the model's defaults draw them."""
    options = DecodingOptions(model.guidance(), model.defaults.steps, seed, Sampling(model.defaults.temperature))
    with mixed_precision(device):
        drawn = generate(model.transformer, torch.tensor(classes, device=device), options)
        return model.tokenizer.decode(drawn.ids).float().clamp(0, 1).cpu()
