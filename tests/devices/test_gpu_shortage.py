"""The nodes on a feigned GPU that is too small or shared: in ComfyUI or its stand-in.

All cases run in one process of their own: this file, run as a script, prints what they found, and each test below reads
its part of it.

    PYTHONPATH=tests .venv/bin/python tests/devices/test_gpu_shortage.py
"""

import gc
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
import torch
from feigned_gpu import DEVICE, FeignedGPU, bytes_on_gpu, install
from gpu_host import REAL, host_on
from node_cases import CASES, Desk, save_families, tensors_of
from node_pack import Pack, load_pack
from own_process import found_of, outcome, print_found
from torch import Tensor

MESSAGE = "There is not enough memory"


def drawn(desk: Desk, **inputs) -> tuple:
    """Two pictures in as few operations as there can be."""
    star = desk.run("RandARClassList", class_list="star")[0]
    settings = {"seed": 1, "steps": 2, "cfg": 1.0, "batch_size": 2}
    return desk.run("RandARSampler", model=desk.model, classes=star, **settings | inputs)


def coded(desk: Desk) -> tuple:
    return desk.vae.encode(desk.random(2, 24, 33, 3)), desk.vae.decode(desk.latent(2, 5, 6)["samples"])


def coded_in_tiles(desk: Desk) -> tuple:
    tiles = {"tile_x": 16, "tile_y": 16, "overlap": 4}
    pixels, latent = desk.random(2, 24, 32, 3), desk.latent(2, 5, 6)["samples"]
    return desk.vae.encode_tiled(pixels, **tiles), desk.vae.decode_tiled(latent, tile_x=4, tile_y=4, overlap=1)


# In the stand-in, which is the same for all, only nodes that take memory in different ways.
OTHERS = CASES if REAL else {name: CASES[name] for name in ("Inpaint", "Feature Match")}
SWEPT: dict[str, Callable[[Desk], tuple]] = {
    "Sampler": drawn,
    **{name: case for name, case in OTHERS.items() if not name.startswith(("Sampler", "VAE"))},
    "VAE": coded,
    "VAE (Tiled)": coded_in_tiles,
}


def assert_same(found: tuple, expected: list[Tensor]) -> None:
    for one, other in zip(tensors_of(found), expected, strict=True):
        torch.testing.assert_close(one.cpu(), other, rtol=1e-3, atol=1e-4)


def ended(gpu: FeignedGPU, desk: Desk, run: Callable[[Desk], tuple], expected: list[Tensor]) -> str:
    """How a run ended: "finished" with the right result, or with the "message". It leaves nothing but weights."""
    try:
        assert_same(run(desk), expected)
        how = "finished"
    except MemoryError as error:
        assert MESSAGE in str(error)
        how = "message"
    # A network may have made room for the other one.
    weights = bytes_on_gpu((desk.model.transformer, desk.vae.tokenizer)) if how == "finished" else 0
    if gpu.live != weights:
        gc.collect()
    assert gpu.live == weights, f"{gpu.live - weights} bytes are left beside the weights, which ended with: {how}"
    return how


def sweep_of_limits(pack: Pack, node: str) -> dict[str, int]:
    """Every limit that stops another allocation first: how often a run finished, and how often it ended in words."""
    import comfy.model_management as management

    gpu, ends = FeignedGPU(), {"finished": 0, "message": 0}
    with host_on(gpu):
        desk, run = Desk(pack, "RandAR"), SWEPT[node]
        expected = [tensor.cpu() for tensor in tensors_of(run(desk))]
        at_rest = gpu.live
        patchers = [each for each in (desk.model.patcher, desk.vae.patcher) if bytes_on_gpu((each.model,))]
        gpu.forget()
        run(desk)
        for peak in gpu.memory.peaks:
            if gpu.live != at_rest:  # the weights left with the message
                management.load_models_gpu(patchers, force_full_load=True)
                assert gpu.live == at_rest
            gpu.memory.limit = peak - 1
            # What is free says nothing: another program takes it after the host has asked.
            with mock.patch.object(type(desk.model.patcher), "get_free_memory", lambda self, device: 2**40):
                ends[ended(gpu, desk, run, expected)] += 1
            gpu.memory.limit = None
    return ends


def every_allocation(pack: Pack) -> dict[str, int]:
    """Each allocation of a run fails once, as when another program had the memory for a moment."""
    gpu, ends = FeignedGPU(), {"finished": 0, "message": 0}
    with host_on(gpu):
        desk = Desk(pack, "RandAR")
        expected = [tensor.cpu() for tensor in tensors_of(drawn(desk))]
        gpu.forget()
        drawn(desk)
        for number in range(1, gpu.memory.allocations + 1):
            gpu.forget()
            gpu.memory.failing = number
            ends[ended(gpu, desk, drawn, expected)] += 1
            gpu.memory.failing = None
    return ends


def interrupted_at_each_call(pack: Pack) -> int:
    """An interrupt at any call ends the run and leaves nothing; the next run is whole."""
    import comfy.model_management as management

    gpu = FeignedGPU()
    progress = pack.module("nodes.progress").Progress
    report = progress.__call__
    with host_on(gpu):
        desk = Desk(pack, "RandAR")
        expected, call = [tensor.cpu() for tensor in tensors_of(drawn(desk, steps=4))], 0
        at_rest, interrupts = gpu.live, 0
        for stop in range(1, 5):
            call = 0

            def counted(self, decoded, stop=stop):
                nonlocal call
                call += 1
                if call == stop:
                    management.interrupt_current_processing()
                return report(self, decoded)

            with mock.patch.object(progress, "__call__", counted):
                try:
                    drawn(desk, steps=4)
                except management.InterruptProcessingException:
                    interrupts += 1
            gc.collect()
            assert gpu.live == at_rest and call == stop
        assert_same(drawn(desk, steps=4), expected)
    return interrupts


def freed_between_runs(pack: Pack) -> None:
    """As the button that frees memory does: all weights leave the GPU, the next run loads them."""
    import comfy.model_management as management

    gpu = FeignedGPU()
    with host_on(gpu):
        desk = Desk(pack, "RandAR")
        expected = [tensor.cpu() for tensor in tensors_of(drawn(desk))]
        for _ in range(2):
            management.unload_all_models()
            gc.collect()
            assert gpu.live == 0
            assert_same(drawn(desk), expected)


def plenty(device=None, torch_free_too=False) -> int | tuple[int, int]:
    """What is free, as ComfyUI's function of that name would say it on a large GPU."""
    return (2**40, 2**40) if torch_free_too else 2**40


def no_room_for_the_weights(pack: Pack) -> None:
    """A limit below the weights, whatever the host believes to be free: the message, and the next run is whole."""
    import comfy.model_management as management

    gpu = FeignedGPU()
    with host_on(gpu):
        desk = Desk(pack, "RandAR")
        for run in (drawn, coded, coded_in_tiles):
            expected = [tensor.cpu() for tensor in tensors_of(run(desk))]
            management.unload_all_models()
            gc.collect()
            gpu.memory.limit = gpu.live + 1024
            with mock.patch.object(management, "get_free_memory", plenty), pytest.raises(MemoryError, match="weights"):
                run(desk)
            gc.collect()
            assert gpu.live == 0
            gpu.memory.limit = None
            assert_same(run(desk), expected)


def two_models_in_turn(pack: Pack) -> None:
    """Models that don't fit beside each other take turns."""
    gpu = FeignedGPU()
    with host_on(gpu):
        desks = {family: Desk(pack, family) for family in ("RandAR", "RAR")}
        expected = {family: [tensor.cpu() for tensor in tensors_of(drawn(desk))] for family, desk in desks.items()}
        together = gpu.live
        gpu.forget()
        drawn(desks["RandAR"])
        if REAL:  # the stand-in unloads nothing
            gpu.memory.limit = (gpu.peak + together) // 2
        for family in (*desks, *desks):
            assert_same(drawn(desks[family]), expected[family])
            assert not REAL or gpu.live < together


def evicted_by_another_pack(pack: Pack) -> None:
    """A model of another pack takes the room of ours, in part or all of it; ours comes back whole."""
    import comfy.model_management as management
    import comfy.model_patcher
    import comfy.ops

    gpu = FeignedGPU()
    with host_on(gpu):
        desk = Desk(pack, "RandAR")
        expected = [tensor.cpu() for tensor in tensors_of(drawn(desk))]
        ours = gpu.live
        layer = comfy.ops.disable_weight_init.Linear(64, 64, device="cpu", dtype=torch.float32)
        torch.nn.init.zeros_(layer.weight)
        other = torch.nn.Sequential(layer).requires_grad_(False)  # ComfyUI loads layers that a model holds
        patcher = comfy.model_patcher.CoreModelPatcher(other, torch.device(DEVICE), torch.device("cpu"))
        for share in (0.3, 0.7, 1.0):
            gpu.memory.limit = ours + 64 * 65 * 4 + 4096
            management.load_models_gpu([patcher], memory_required=int(share * ours))
            if REAL:
                assert gpu.live < ours + 64 * 65 * 4
            gpu.memory.limit = None
            assert_same(drawn(desk), expected)


SCENARIOS = {
    "every allocation": every_allocation,
    "interrupts": interrupted_at_each_call,
    "freed": freed_between_runs,
    "no room": no_room_for_the_weights,
    "two models": two_models_in_turn,
    "another pack": evicted_by_another_pack,
}


@torch.inference_mode()
def work() -> dict[str, dict]:
    torch.set_num_threads(1)
    install()
    with tempfile.TemporaryDirectory() as folder:
        pack = load_pack(Path(folder))
        save_families(pack)
        gc.freeze()
        results = {name: outcome(scenario, pack) for name, scenario in SCENARIOS.items()}
        return results | {f"limits: {node}": outcome(sweep_of_limits, pack, node) for node in SWEPT}


@pytest.mark.parametrize("node", SWEPT)
def test_a_run_with_too_little_memory_ends_in_a_smaller_batch_or_in_words(node):
    ends = found_of(f"limits: {node}", __file__)
    assert ends["message"] > 0 and sum(ends.values()) > 5


def test_a_run_gets_over_any_allocation_that_fails_once():
    ends = found_of("every allocation", __file__)
    assert ends["finished"] > 50 and not ends["message"]


def test_an_interrupt_at_any_call_leaves_nothing():
    assert found_of("interrupts", __file__) == 4


@pytest.mark.parametrize("name", ["freed", "no room", "two models", "another pack"])
def test_a_run_is_the_same_after_its_weights_had_to_leave(name):
    found_of(name, __file__)


if __name__ == "__main__":
    print_found(work())
