"""Muon, against torch's, and shared by processes."""

from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from randar_core.training import muon
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


@given(processes=st.integers(2, 5), first=st.integers(0, 7), counts=st.lists(st.integers(1, 4), min_size=1, max_size=4))
@settings(max_examples=30)
def test_processes_share_the_matrices_evenly_and_all_get_all_updates(processes, first, counts):
    generator = torch.Generator().manual_seed(0)
    groups = [list(torch.randn(count, 3, 4, generator=generator)) for count in counts]
    shares = [[] for _ in range(processes)]  # of each process: what it makes of the matrices of every group
    for rank, own in enumerate(shares):
        with (
            mock.patch.object(muon, "rank_and_world_size", lambda rank=rank: (rank, processes)),
            mock.patch.object(muon, "sum_over_processes", lambda values: values),
        ):
            before = first
            for group in groups:
                own.append(muon.orthogonal_together(group, before))
                before += len(group)
    done = [sum(int(update.any()) for part in own for update in part) for own in shares]
    assert sum(done) == sum(counts) and max(done) - min(done) <= 1
    for number, group in enumerate(groups):
        found = torch.stack([own[number] for own in shares]).sum(0)
        torch.testing.assert_close(found, orthogonal(torch.stack(group)))
