"""The nodes on a feigned GPU, in ComfyUI or its stand-in: what they give on a CPU, however the host was started.

All cases run in one process of their own: this file, run as a script, prints what they found, and each test below reads
its part of it.

    PYTHONPATH=tests .venv/bin/python tests/devices/test_nodes_on_gpu.py
"""

import gc
import tempfile
from pathlib import Path

import pytest
import torch
from feigned_gpu import FeignedGPU, bytes_on_gpu, install
from gpu_host import STARTS, host_on
from node_cases import CASES, FAMILIES, Desk, save_families, tensors_of
from node_pack import load_pack
from own_process import found_of, outcome, print_found

# All nodes with one family; of the others what reads and writes their caches in other ways, with all weights on the GPU
# and with none.
RUNS = [(start, "RandAR", case) for start in STARTS for case in CASES] + [
    (start, family, case)
    for start in STARTS
    if start in ("", "--novram")
    for family in ("RAR", "LPD", "ARPG")
    for case in ("Sampler, masked latent", "Canvas")
]


def node_on_both(desks: dict[str, Desk], expected: dict[tuple, tuple], gpu: FeignedGPU, family: str, case: str) -> None:
    """A node's results are the CPU's and lie where the host keeps them; it leaves nothing else on the GPU."""
    import comfy.model_management

    found = tensors_of(CASES[case](desks[family]))
    for one, other in zip(found, tensors_of(expected[family, case]), strict=True):
        assert one.device == comfy.model_management.intermediate_device()
        torch.testing.assert_close(one.cpu(), other, rtol=1e-3, atol=1e-4)
    del found, one
    weights = bytes_on_gpu(
        network for desk in desks.values() for network in (desk.model.transformer, desk.vae.tokenizer)
    )
    if gpu.live != weights:
        gc.collect()
    assert gpu.live == weights, f"{gpu.live - weights} bytes are left on the GPU beside the weights"


@torch.inference_mode()
def work() -> dict[str, dict]:
    torch.set_num_threads(1)
    install()
    with tempfile.TemporaryDirectory() as folder:
        pack = load_pack(Path(folder))
        save_families(pack)
        desks = {family: Desk(pack, family) for family in FAMILIES}
        expected = {(family, case): CASES[case](desks[family]) for family, case in {run[1:] for run in RUNS}}
        gc.freeze()
        results = {}
        for start in STARTS:
            gpu = FeignedGPU()
            with host_on(gpu, start):
                desks = {family: Desk(pack, family) for family in FAMILIES}
                for family, case in (run[1:] for run in RUNS if run[0] == start):
                    results[f"{start}, {family}, {case}"] = outcome(node_on_both, desks, expected, gpu, family, case)
    return results


@pytest.mark.parametrize("start, family, case", RUNS)
def test_a_node_gives_on_the_gpu_what_it_gives_on_the_cpu(start, family, case):
    found_of(f"{start}, {family}, {case}", __file__)


if __name__ == "__main__":
    print_found(work())
