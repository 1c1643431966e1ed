"""What makes the host wait for the device."""

from dataclasses import replace

import pytest
import torch
from tiny_tasks import (
    GRID,
    OPTIONS,
    classes,
)
from torch.utils._python_dispatch import TorchDispatchMode

from randar_core.decoding.canvas import Canvas
from randar_core.tasks.extrapolate import extrapolate
from randar_core.tasks.fill import fill
from randar_core.tasks.generate import generate


class QuestionsToTheDevice(TorchDispatchMode):
    """Counts what makes the host wait for a GPU: values that are read, positions that are looked for."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        positions = args[1] if "index" in func.__name__ and len(args) > 1 and isinstance(args[1], (list, tuple)) else ()
        looked_for = any(isinstance(index, torch.Tensor) and index.dtype == torch.bool for index in positions)
        if looked_for or func.__name__.split(".")[0] in {"_local_scalar_dense", "nonzero", "masked_select", "equal"}:
            self.count += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("task", ["generate", "fill", "extrapolate"])
@pytest.mark.parametrize("watched", [True, False])
def test_a_call_asks_nothing_of_the_device(model, task, watched):
    """However many calls there are: each answer would be waited for."""
    asked = []
    for steps in (4, 12):
        options = replace(OPTIONS, steps=steps)
        on_step = (lambda decoded: None) if watched else None
        with QuestionsToTheDevice() as questions:
            if task == "generate":
                generate(model, classes(2), options, on_step=on_step)
            elif task == "fill":
                fill(model, Canvas.empty(2, GRID, GRID, torch.device("cpu")), classes(2), options, on_step=on_step)
            else:
                extrapolate(model, classes(2), options, 2, on_step=on_step)
        asked.append(questions.count)
    assert asked[0] == asked[1] > 0
