"""What a decode is said to take is what it takes."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

spec = importlib.util.spec_from_file_location("memory", Path(__file__).parent.parent / "benchmarks" / "memory.py")
memory = sys.modules["memory"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(memory)


@pytest.mark.parametrize(
    ("name", "dtype", "setting"),
    [
        ("randar-l-llamagen", torch.float32, (1, 8, 0, 1.0, False)),
        ("randar-l-llamagen", torch.float32, (1, 8, 192, 1.0, False)),
        ("randar-xl-llamagen", torch.bfloat16, (1, 8, 0, 1.0, False)),
        ("randar-l-maskgit", torch.float32, (1, 8, 0, 1.0, True)),
    ],
)
def test_the_stated_memory_lies_within_15_percent_of_the_peak(name, dtype, setting):
    # One layer: what more of them add is the cache, which is stated exactly.
    model = memory.random_model(name, dtype, layers=1)
    measured, stated = memory.measure(model, *setting, torch.device("cpu"))
    assert 0.85 * measured <= stated <= 1.15 * measured
