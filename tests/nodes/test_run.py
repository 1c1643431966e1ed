"""Progress, previews, interrupts and memory of a run."""

import gc
import platform
import threading
import weakref
from itertools import count
from types import SimpleNamespace

import pytest
import torch


def test_a_gpu_has_a_few_calls_in_flight(pack, monkeypatch):
    module, gpu, done = pack.module("nodes.progress"), torch.device("cuda"), []

    class Stream:
        def record_event(self):
            number = next(numbers)
            return SimpleNamespace(synchronize=lambda: done.append(number))

    numbers, in_flight = count(1), module.InFlight()
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream())
    for _ in range(module.CALLS_IN_FLIGHT):
        in_flight.add(gpu)
    assert done == []
    in_flight.add(gpu)
    in_flight.add(gpu)
    assert done == [1, 2]
    in_flight.wait()
    assert done == list(range(1, module.CALLS_IN_FLIGHT + 3))
    in_flight.add(torch.device("cpu"))  # which does a call when it is told to
    assert not in_flight.events


def test_progress_counts_the_calls(sample, reports):
    sample(steps=4)
    assert reports[-1][:2] == (4, 4) and all(preview is None for *_, preview in reports)


def test_previews_show_the_batch_where_the_user_wants_them(pack, sample, reports, monkeypatch):
    from comfy.cli_args import LatentPreviewMethod, args

    monkeypatch.setattr(args, "preview_method", LatentPreviewMethod.Auto)
    sample(batch_size=4)
    kind, image, size = reports[-1][2]
    assert kind == "JPEG" and image.size == (2 * 4 * 16, 2 * 4 * 16) and size == args.preview_size
    assert len(image.getcolors(100000)) > 1


def test_a_preview_of_a_wide_canvas_is_no_larger_than_what_is_shown(pack, model, reports, monkeypatch):
    from comfy.cli_args import LatentPreviewMethod, args

    monkeypatch.setattr(args, "preview_method", LatentPreviewMethod.Auto)
    star = pack.run("RandARClassList", class_list="star")[0]
    pack.run("RandARCanvas", model=model, classes=star, width=800, height=16, seed=0, steps=2, cfg=1.0, overlap=0.0)
    assert reports[-1][2][1].size == (2 * 200, 2 * 4)


@pytest.fixture
def caches(model, monkeypatch):
    """Weak references to the KV caches that are made, in order."""
    references, start = [], type(model.transformer).start

    def watched(self, *arguments, **more):
        state = start(self, *arguments, **more)
        references.append(weakref.ref(state.cache))
        return state

    monkeypatch.setattr(type(model.transformer), "start", watched)
    return references


def test_an_interrupt_ends_the_run_within_a_call_and_leaves_nothing(pack, sample, caches, monkeypatch):
    import comfy.model_management as management

    calls = []
    progress = pack.module("nodes.progress").Progress
    report = progress.__call__

    def interrupted(self, decoded):
        calls.append(decoded.call)
        if decoded.call == 2:
            management.interrupt_current_processing()
        return report(self, decoded)

    monkeypatch.setattr(progress, "__call__", interrupted)
    with pytest.raises(management.InterruptProcessingException):
        sample(steps=16)
    gc.collect()
    assert calls[-1] == 2 and [cache() for cache in caches] == [None]


def test_an_error_in_the_middle_of_a_run_leaves_nothing(model, sample, caches, monkeypatch):
    def broken(self, state, *arguments):
        raise RuntimeError("a fault in the middle")

    monkeypatch.setattr(type(model.transformer), "step", broken)
    with pytest.raises(RuntimeError, match="a fault in the middle"):
        sample(steps=16)
    gc.collect()
    assert caches and all(cache() is None for cache in caches)


def test_the_cache_is_gone_after_a_run(sample, caches):
    sample()
    assert caches and all(cache() is None for cache in caches)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError, lambda: RuntimeError("DefaultCPUAllocator: not enough memory")]
)
def test_a_batch_that_does_not_fit_is_split_and_finished(model, sample, monkeypatch, error):
    whole, start, sizes = sample(batch_size=5)[0]["samples"], type(model.transformer).start, []

    def limited(self, condition, order, **more):
        sizes.append(len(order) // 2)
        if sizes[-1] > 2:
            raise error()
        return start(self, condition, order, **more)

    monkeypatch.setattr(type(model.transformer), "start", limited)
    assert sample(batch_size=5)[0]["samples"].equal(whole)
    assert sizes == [5, 3, 2, 2, 1]


def test_one_picture_that_does_not_fit_is_a_clear_error(model, sample, monkeypatch):
    def full(self, *arguments, **more):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(type(model.transformer), "start", full)
    with pytest.raises(MemoryError, match="not enough memory to draw one picture at a time"):
        sample(batch_size=2)


def test_other_errors_are_not_taken_for_a_lack_of_memory(model, sample, monkeypatch):
    def broken(self, *arguments, **more):
        raise RuntimeError("something else")

    monkeypatch.setattr(type(model.transformer), "start", broken)
    with pytest.raises(RuntimeError, match="something else"):
        sample()


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc keeps what was freed, and can be asked for it"
)
def test_what_a_packed_model_held_is_handed_back_once_it_is_gone(pack, tiny, monkeypatch):
    memory, asked = pack.module("nodes.host_memory"), []

    class Timer(threading.Thread):
        def __init__(self, delay, function, arguments):
            super().__init__()
            asked.append((function.__name__, arguments))

    model, _ = pack.run("RandARLoadModel", model_name=tiny.name)
    if not pack.module("randar_core.runtime.packed_linear").packed_bytes(model.transformer):
        pytest.skip("nothing is packed on this device")
    monkeypatch.setattr(memory.threading, "Timer", Timer)
    monkeypatch.setattr(Timer, "start", lambda self: None)
    assert not asked
    del model, _
    gc.collect()
    assert asked == [("malloc_trim", [0])]


def test_a_batch_is_drawn_in_pieces_when_little_is_free(model, sample, monkeypatch):
    import comfy.model_management as management

    sizes, start = [], type(model.transformer).start
    monkeypatch.setattr(
        type(model.transformer),
        "start",
        lambda self, condition, order, **more: sizes.append(len(order) // 2) or start(self, condition, order, **more),
    )
    monkeypatch.setattr(management, "get_free_memory", lambda device, *more: 1)
    sample(batch_size=3)
    assert sizes == [1, 1, 1]
    # With dynamic VRAM the device looks full, but the host gives way: its patchers know.
    monkeypatch.setattr(model.patcher, "get_free_memory", lambda device: 2**33)
    sample(batch_size=3)
    assert sizes == [1, 1, 1, 3]
