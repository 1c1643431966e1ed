"""The precision that a name stands for, by what the CPU can compute."""

import pytest
import torch

from randar_core.runtime import precision as precisions
from randar_core.runtime.precision import Precision, precision_of

CPU = torch.device("cpu")


def test_the_quickest_precision_is_that_of_the_cpu(monkeypatch):
    monkeypatch.setattr(precisions, "cpu_computes_bfloat16", lambda: False)
    monkeypatch.setattr(precisions, "quick_dtype", lambda device: torch.float32)
    monkeypatch.setattr(precisions, "can_pack_in", lambda bits: True)
    assert precision_of("auto", CPU) == Precision(torch.float32, "float16")
    assert str(precision_of("auto", CPU)) == "float16 weights in float32"
    monkeypatch.setattr(precisions, "can_pack_in", lambda bits: False)
    assert precision_of("auto", CPU) == Precision(torch.float32)
    assert precision_of("float16", CPU) == Precision(torch.float16)
    monkeypatch.setattr(precisions, "cpu_computes_bfloat16", lambda: True)
    monkeypatch.setattr(precisions, "quick_dtype", lambda device: torch.bfloat16)
    assert precision_of("auto", CPU) == Precision(torch.bfloat16)


def test_what_is_named_is_what_one_gets():
    assert precision_of("float32", CPU) == Precision(torch.float32)
    assert precision_of("int8", CPU) == Precision(torch.float32, "int8")
    assert precision_of("float16", torch.device("cuda")) == Precision(torch.float16)
    with pytest.raises(ValueError, match="int8 are for the CPU"):
        precision_of("int8", torch.device("cuda"))
