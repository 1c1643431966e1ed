"""Weights that layers draw for themselves, from a seed."""

import contextlib

import torch


@contextlib.contextmanager
def seeded(seed: int):
    """Within it, weights that layers draw for themselves come from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # and no other device's
        yield
