"""The precision that a name stands for, by what the CPU can compute."""

import pytest
import torch

from randar_core.runtime import capabilities
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


@pytest.mark.parametrize(
    "machine, name, instructions, amx, quicker",
    [
        ("x86_64", "Intel Xeon", True, True, True),
        ("x86_64", "Intel Xeon", True, False, False),
        ("x86_64", "Intel Xeon", False, False, False),
        ("AMD64", "AMD EPYC 9654", True, False, True),
        ("AMD64", "AMD EPYC 7763", False, False, False),
        ("arm64", "", False, False, True),
    ],
)
def test_intels_cpus_compute_in_bfloat16_where_they_have_amx(monkeypatch, machine, name, instructions, amx, quicker):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True, raising=False)
    monkeypatch.setattr(capabilities.platform, "machine", lambda: machine)
    monkeypatch.setattr(capabilities, "cpu_name", lambda: name)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instructions)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert capabilities.cpu_computes_bfloat16() is quicker


def test_a_torch_that_says_little_of_the_cpu_is_asked_nothing_it_does_not_know(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    monkeypatch.setattr(capabilities.platform, "processor", lambda: "GenuineIntel")
    assert capabilities.cpu_name() == "GenuineIntel"
    assert not capabilities.has("_is_amx_tile_supported")
