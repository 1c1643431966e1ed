"""The precision that a name stands for, by what the CPU can compute."""

import pytest
import torch

from randar_core.runtime import capabilities
from randar_core.runtime import precision as precisions
from randar_core.runtime.precision import Precision, precision_of

CPU = torch.device("cpu")


def test_the_quickest_precision_is_that_of_the_cpu(monkeypatch):
    monkeypatch.setattr(precisions, "bfloat16_is_quick_on_cpu", lambda: False)
    monkeypatch.setattr(precisions, "quick_dtype", lambda device: torch.float32)
    monkeypatch.setattr(precisions, "can_pack_in", lambda bits: True)
    assert precision_of("auto", CPU) == Precision(torch.float32, "float16")
    assert str(precision_of("auto", CPU)) == "float16 weights in float32"
    monkeypatch.setattr(precisions, "can_pack_in", lambda bits: False)
    assert precision_of("auto", CPU) == Precision(torch.float32)
    assert precision_of("float16", CPU) == Precision(torch.float16)
    monkeypatch.setattr(precisions, "bfloat16_is_quick_on_cpu", lambda: True)
    monkeypatch.setattr(precisions, "quick_dtype", lambda device: torch.bfloat16)
    assert precision_of("auto", CPU) == Precision(torch.bfloat16)


def test_what_is_named_is_what_one_gets():
    assert precision_of("float32", CPU) == Precision(torch.float32)
    assert precision_of("int8", CPU) == Precision(torch.float32, "int8")
    assert precision_of("float16", torch.device("cuda")) == Precision(torch.float16)
    with pytest.raises(ValueError, match="int8 are for the CPU"):
        precision_of("int8", torch.device("cuda"))


@pytest.mark.parametrize(
    "machine, amd, instructions, amx, quick",
    [
        ("x86_64", False, True, True, True),
        ("x86_64", False, True, False, False),
        ("x86_64", False, False, False, False),
        ("AMD64", True, True, False, True),
        ("AMD64", True, False, False, False),
        ("arm64", False, False, False, True),
    ],
)
def test_bfloat16_is_quick_with_amx_and_on_amds_cpus(monkeypatch, machine, amd, instructions, amx, quick):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True, raising=False)
    monkeypatch.setattr(capabilities.platform, "machine", lambda: machine)
    monkeypatch.setattr(capabilities, "made_by_amd", lambda: amd)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instructions)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert capabilities.bfloat16_is_quick_on_cpu() is quick


def test_a_torch_that_knows_no_amx_or_no_kernels_is_taken_to_have_none(monkeypatch):
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    assert not capabilities.has("_is_amx_tile_supported")
    monkeypatch.setattr(capabilities.torch.ops, "mkldnn", object(), raising=False)
    assert not capabilities.has_bfloat16_kernels()


@pytest.mark.parametrize("maker, amd", [("GenuineIntel", False), ("AuthenticAMD", True), ("", False)])
def test_the_maker_of_the_cpu_is_read_where_the_system_names_it(monkeypatch, tmp_path, maker, amd):
    monkeypatch.setattr(capabilities, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(capabilities.platform, "processor", lambda: f"Family 6, {maker}")  # as Windows says it
    assert capabilities.made_by_amd() is amd
    monkeypatch.setattr(capabilities.platform, "processor", lambda: "x86_64")
    capabilities.CPU_INFO.write_text(f"vendor_id\t: {maker}\n", encoding="utf-8")
    assert capabilities.made_by_amd() is amd
    monkeypatch.setattr(capabilities, "CPU_INFO", tmp_path)  # can't be read
    assert not capabilities.made_by_amd()
