"""Two-dimensional rotary position embeddings, as RandAR and ARPG use them (arXiv 2412.01827, 2503.10568)."""

import torch
from torch import Tensor

BASE = 10000.0  # frequencies fall from 1 towards 1 / BASE


def rotary_table(rows: Tensor, columns: Tensor, head_width: int) -> Tensor:
    """Cosine and sine of every cell's angles: `[1 + N, head_width / 2, 2]` float32.

    `rows` and `columns` are the positions of the N cells, each `[N]` or, where every frequency has positions of its own
    (as resolution extrapolation needs), `[N, head_width / 4]`. The first half of the angles turns with the row, the
    second with the column. Row 0 belongs to the class and is zero throughout: its query and key vanish, its value
    stays.
    """
    bands = head_width // 4
    exponents = torch.arange(0, head_width // 2, 2, device=rows.device)[:bands].to(torch.float32)
    frequencies = 1.0 / BASE ** (exponents / (head_width // 2))
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
    """Rope `[2, R, N, 1, d / 2, 2]` of the cells along `order` `[R, N]`, as `rotate` takes it, of a rotary `table`.

    It holds the rotation of every pair (a, b) of channels as two pairs: `(cos, sin)`, which is multiplied by a, and
    `(−sin, cos)`, which is multiplied by b.
    """
    cosine, sine = table.to(order.device)[order + 1].unsqueeze(2).unbind(-1)
    return torch.stack([torch.stack([cosine, sine], -1), torch.stack([-sine, cosine], -1)])


def with_values(rope: Tensor) -> Tensor:
    """Rope `[2, R, N, 3, 1, d / 2, 2]` for queries, keys and values, of `rope` `[2, R, N, 1, d / 2, 2]`.

    Values are not rotated. One product then rotates the output of a layer that makes all three.
    """
    rope = rope.unsqueeze(3)
    unrotated = torch.eye(2, dtype=rope.dtype, device=rope.device).view(2, 1, 1, 1, 1, 1, 2)
    return torch.cat([rope, rope, unrotated.expand_as(rope)], 3)


def rotate(x: Tensor, rope: Tensor) -> Tensor:
    """Rotate neighbouring pairs of channels of `x` `[..., d]` by `rope` `[2, ..., d / 2, 2]`, in float32."""
    pairs = x.unflatten(-1, (-1, 2))
    rotated = rotated_as_complex(pairs, rope) if x.is_cpu else rotated_as_pairs(pairs, rope)
    return rotated.flatten(-2).to(x.dtype)


def rotated_as_complex(pairs: Tensor, rope: Tensor) -> Tensor:
    """`pairs` `[..., d / 2, 2]` rotated, in float32: many times faster on a CPU. Some GPUs have no complex numbers."""
    return torch.view_as_real(torch.view_as_complex(pairs.float()) * torch.view_as_complex(rope[0]))


def rotated_as_pairs(pairs: Tensor, rope: Tensor) -> Tensor:
    """`pairs` `[..., d / 2, 2]` rotated, in float32, in two operations."""
    return torch.addcmul(pairs[..., :1] * rope[0], pairs[..., 1:], rope[1])
