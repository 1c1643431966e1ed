"""How far a reconstruction is from its picture: the loss of tokenizers and of their decoders."""

import torch
import torch.nn.functional as F
from torch import Tensor


def border_weights(height: int, width: int, border: int, times: float) -> Tensor:
    """[H, W], one on average: the outermost `border` pixels weigh `times` as much as others."""
    weights = torch.full((height, width), float(times))
    weights[border : height - border, border : width - border] = 1
    return weights / weights.mean()


def reconstruction_loss(decoded: Tensor, pixels: Tensor, edges: float, weights: Tensor | None = None) -> Tensor:
    """Absolute and squared error at four scales, and, `edges` times, of the differences of neighbouring pixels.

    `weights` [H, W] are those of the pixels at the finest scale, by default equal.
    """

    def mean(error: Tensor, weights: Tensor | None) -> Tensor:
        return error.mean() if weights is None else (error * weights).mean()

    difference = decoded - pixels
    down = across = None
    if weights is not None:  # a step between two pixels weighs as they do on average
        down, across = (weights[1:] + weights[:-1]) / 2, (weights[:, 1:] + weights[:, :-1]) / 2
    loss = edges * (mean(difference.diff(dim=2).abs(), down) + mean(difference.diff(dim=3).abs(), across))
    for scale in range(4):
        if scale:
            if min(difference.shape[2:]) < 2:
                break
            difference, weights = F.avg_pool2d(difference, 2), None
        loss = loss + mean(difference.abs(), weights) + 2 * mean(difference.square(), weights)
    return loss
