"""Muon: momentum whose matrices are made orthogonal before each step."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ..runtime.capabilities import quick_dtype
from ..runtime.distributed import rank_and_world_size, sum_over_processes

# Of the quintic iteration (Keller Jordan, "Muon", 2024): steepest at 0, so that small singular values grow at once.
COEFFICIENTS, ITERATIONS = (3.4445, -4.7750, 2.0315), 5

MOMENTUM = 0.95

# Elements of the matrices that are made orthogonal at once: small ones gain by it, large ones would take memory.
ELEMENTS_AT_ONCE = 2**23


class Muon(torch.optim.Optimizer):
    """For matrices `[a, b]` alone ("Muon is Scalable for LLM Training", arXiv 2502.16982, algorithm 1).

    Takes AdamW's learning rates: an update has the size of AdamW's. `torch.optim.Muon` is the same step in bfloat16,
    matrix by matrix; this takes several matrices of one shape together and computes in the device's quick dtype, since
    a CPU that emulates bfloat16 would spend most of a training here. Processes share the matrices: this is more than a
    third of a training step of a small transformer.
    """

    def __init__(self, matrices: Iterable[Tensor], lr: float, weight_decay: float = 0.1):
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        first = 0  # the number of a chunk's first matrix among all
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    alike[matrix.shape].append(matrix)
            for shape, matrices in alike.items():
                at_once = max(1, ELEMENTS_AT_ONCE // shape.numel()) * rank_and_world_size()[1]
                for chunk in (matrices[start : start + at_once] for start in range(0, len(matrices), at_once)):
                    updates = orthogonal_together([self._momentum(matrix) for matrix in chunk], first)
                    first += len(chunk)
                    for matrix, update in zip(chunk, updates, strict=True):
                        matrix.mul_(1 - group["lr"] * group["weight_decay"])
                        matrix.add_(update, alpha=-group["lr"] * 0.2 * max(shape) ** 0.5)

    def _momentum(self, matrix: Tensor) -> Tensor:
        """Nesterov's."""
        state = self.state[matrix]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        state["momentum_buffer"].lerp_(matrix.grad, 1 - MOMENTUM)
        return matrix.grad.lerp(state["momentum_buffer"], MOMENTUM)


def orthogonal_together(matrices: Sequence[Tensor], first: int) -> Tensor:
    """`orthogonal` of the n `matrices` `[a, b]`, `[n, a, b]` in every process, each of which does its share.

    `first` is the number of the first of them among all matrices. Matrix k is the work of process k modulo the number
    of processes.
    """
    rank, processes = rank_and_world_size()
    if processes == 1:
        return orthogonal(torch.stack(matrices))
    updates = torch.zeros(len(matrices), *matrices[0].shape, dtype=matrices[0].dtype, device=matrices[0].device)
    own = slice((rank - first) % processes, None, processes)
    if matrices[own]:
        updates[own] = orthogonal(torch.stack(matrices[own]))
    return sum_over_processes(updates)


def orthogonal(matrices: Tensor) -> Tensor:
    """`[n, a, b]` with all singular values moved near to 1, by Newton and Schulz's iteration."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = (x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)).to(quick_dtype(x.device))
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)
