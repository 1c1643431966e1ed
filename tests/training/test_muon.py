"""Muon, against torch's."""

import pytest
import torch

from randar_core.training.muon import Muon, orthogonal


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon to compare with")
def test_muon_steps_as_that_of_torch_up_to_its_bfloat16():
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=generator) for shape in ((12, 4), (4, 12), (12, 4), (8, 8))]
    ours, theirs = ([matrix.clone().requires_grad_() for matrix in start] for _ in range(2))
    optimizers = (
        Muon(ours, lr=0.1, weight_decay=0.1),
        torch.optim.Muon(theirs, lr=0.1, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(3):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for one, other, before in zip(ours, theirs, start, strict=True):
        assert (one - other).norm() < 0.02 * (one - before).norm()


def test_an_update_of_muon_is_near_to_orthogonal():
    updates = orthogonal(torch.randn(3, 6, 24, generator=torch.Generator().manual_seed(0)))
    values = torch.linalg.svdvals(updates)
    assert values.min() > 0.6 and values.max() < 1.3
