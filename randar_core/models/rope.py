"""Two-dimensional rotary position embeddings, as RandAR and ARPG use them (arXiv 2412.01827, 2503.10568)."""

import torch
from torch import Tensor


def rotary_table(rows: Tensor, columns: Tensor, head_width: int, base: float = 10000.0) -> Tensor:
    """Cosine and sine of every cell's angles: `[1 + N, head_width / 2, 2]` float32.

    `rows` and `columns` are the positions of the N cells, each `[N]` or, where every frequency has positions of its own
    (as resolution extrapolation needs), `[N, head_width / 4]`. The first half of the angles turns with the row, the
    second with the column. Row 0 belongs to the class and is zero throughout: its query and key vanish, its value
    stays.
    """
    bands = head_width // 4
    exponents = torch.arange(0, head_width // 2, 2, device=rows.device)[:bands].to(torch.float32)
    frequencies = 1.0 / base ** (exponents / (head_width // 2))
    positions = torch.stack(
        [axis.to(torch.float32).reshape(len(axis), -1).expand(-1, bands) for axis in (rows, columns)], 1
    )
    angles = (positions * frequencies).flatten(1)
    table = torch.stack([angles.cos(), angles.sin()], -1)
    return torch.cat([torch.zeros_like(table[:1]), table])


def trained_table(grid: int, head_width: int) -> Tensor:
    """Table of a square grid of `grid` cells a side, `[1 + grid², head_width / 2, 2]`."""
    cells = torch.arange(grid**2, device="cpu")
    return rotary_table(cells // grid, cells % grid, head_width)


def extrapolated_table(grid: int, factor: int, boundary: int, head_width: int) -> Tensor:
    """Table of a grid `factor` times `grid`: `[1 + (factor grid)², head_width / 2, 2]` (RandAR, section 3.4).

    The `boundary` fastest frequencies of each axis turn with the true positions, the others with positions that are
    squeezed into the trained range.
    """
    side = grid * factor
    true = torch.arange(side, dtype=torch.float32, device="cpu")
    squeezed = torch.linspace(0, grid - 1, side, dtype=torch.float32, device="cpu")
    fast = torch.arange(head_width // 4, device="cpu") < boundary
    positions = torch.where(fast, true[:, None], squeezed[:, None])
    cells = torch.arange(side**2, device="cpu")
    return rotary_table(positions[cells // side], positions[cells % side], head_width)


def rope_of(order: Tensor, table: Tensor) -> Tensor:
    """Rope `[2, R, N, 1, d]` of the cells along `order` `[R, N]`, as `rotate` takes it, of a rotary `table`."""
    cosine, sine = table.to(order.device)[order + 1].unsqueeze(2).unbind(-1)
    return torch.stack([torch.stack([cosine, cosine], -1), torch.stack([-sine, sine], -1)]).flatten(-2)


def rotate(x: Tensor, rope: Tensor) -> Tensor:
    """Turn neighbouring pairs of `x` `[..., d]` by `rope` `[2, ..., d]`, in float32.

    `rope` holds a cosine for each element, and a sine that is negative for the first element of a pair.
    """
    cosine, sine = rope
    wide = x.float()
    swapped = wide.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return torch.addcmul(wide * cosine, swapped, sine).to(x.dtype)
