"""Calls of fixed shape draw what calls of their own shape do. Capturing them takes a CUDA device: the last tests.

Here a capture is feigned: what was run once is run again, from the same inputs to the same outputs, and nothing else.
"""

import gc
import weakref
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from randar_core.checkpoints.releases import Defaults
from randar_core.cli import main, options
from randar_core.decoding.canvas import Canvas
from randar_core.decoding.guidance import Linear, class_guidance, spatial_guidance
from randar_core.decoding.loop import Setting, decode
from randar_core.decoding.plan import make_plan
from randar_core.decoding.sampling import Sampling
from randar_core.models import graphs
from randar_core.models.attention import aligned
from randar_core.models.graphs import GraphedRandAR
from randar_core.models.randar import RandAR, RandARConfig
from randar_core.tasks.extrapolate import extrapolate
from randar_core.tasks.options import DecodingOptions

GREEDY = Sampling(top_k=1)
LOOSE = Sampling(temperature=0.9, top_k=20, top_p=0.95)
GUIDED = class_guidance(Linear(1.0, 4.0))
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


def model(device: str = "cpu", seed: int = 0) -> RandAR:
    generator = torch.Generator().manual_seed(seed)
    decoder = RandAR(RandARConfig(32, 2, 2, 24, classes=3, grid=6)).eval().requires_grad_(False)
    for parameter in decoder.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.15 if parameter.ndim > 1 else 1))
    return decoder.to(device)


def drawn(
    decoder, batch: int, steps: int, known: int = 0, seed: int = 0, device: str = "cpu", sampling=GREEDY, guided=GUIDED
) -> torch.Tensor:
    mark = torch.randperm(36, generator=torch.Generator().manual_seed(seed)) < known
    ids = torch.randint(24, (batch, 6, 6), generator=torch.Generator().manual_seed(seed + 1))
    canvas = Canvas(ids.to(device), mark.view(1, 6, 6).expand(batch, -1, -1).contiguous().to(device))
    setting = Setting(torch.arange(batch, device=device) % 3, guided, sampling)
    return decode(decoder, canvas, make_plan(canvas, steps, seed), setting).ids


@pytest.fixture
def captures(monkeypatch) -> list:
    """Feigned ones: what was captured, once for each."""
    found = []

    def capture(graphed, buffers, run):
        outputs = run()
        found.append(buffers)

        def replay():
            for kept, each in zip(outputs, run(), strict=True):
                kept.copy_(each)
            return outputs

        return replay

    make = GraphedRandAR.new_buffers

    def new_buffers(graphed, classes, cells):
        buffers = make(graphed, classes, cells)
        buffers.capturable = True
        return buffers

    monkeypatch.setattr(GraphedRandAR, "capture", capture)
    monkeypatch.setattr(GraphedRandAR, "new_buffers", new_buffers)
    return found


@given(batch=st.integers(1, 3), steps=st.integers(1, 36), known=st.integers(0, 35), seed=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_the_same_tokens_whatever_is_known_and_however_many_are_drawn_a_call(batch, steps, known, seed):
    plain = model()
    assert torch.equal(drawn(GraphedRandAR(plain), batch, steps, known, seed), drawn(plain, batch, steps, known, seed))


def test_a_capture_serves_all_calls_of_its_shape_and_later_decodes(captures):
    plain, graphed = forms(model())
    for known, seed in ((0, 0), (20, 3), (0, 5)):
        arguments = (2, 24, known, seed, "cpu", LOOSE)
        assert torch.equal(drawn(graphed, *arguments), drawn(plain, *arguments))
    assert 0 < len(captures) == len(calls_of(graphed)) < 24
    held = len(captures)
    drawn(graphed, 2, 24, sampling=LOOSE)
    assert len(captures) == held


def test_captures_last_while_only_weights_of_guidance_change_and_are_made_anew_for_another_sampling(captures):
    plain, graphed = forms(model())
    drawn(graphed, 2, 9, sampling=LOOSE)
    held = len(captures)
    other = class_guidance(Linear(2.0, 6.0))
    assert torch.equal(
        drawn(graphed, 2, 9, sampling=LOOSE, guided=other), drawn(plain, 2, 9, sampling=LOOSE, guided=other)
    )
    assert len(captures) == held
    hot = Sampling(temperature=1.3)
    assert torch.equal(drawn(graphed, 2, 9, sampling=hot), drawn(plain, 2, 9, sampling=hot))
    assert len(captures) > held and len(calls_of(graphed)) == len(captures) - held
    # Both are kept, as for a draft and its refining in turn; a third takes the place of the one drawn longest ago.
    held = len(captures)
    for sampling in (LOOSE, hot):
        drawn(graphed, 2, 9, sampling=sampling)
    assert len(captures) == held
    drawn(graphed, 2, 9)
    drawn(graphed, 2, 9, sampling=hot)
    assert len(captures) == held + len(calls_of(graphed))
    drawn(graphed, 2, 9, sampling=LOOSE)
    assert len(captures) > held + len(calls_of(graphed))


def test_extrapolation_with_a_dropped_context_draws_the_same_tokens():
    options = DecodingOptions(GUIDED, 12, 0, GREEDY)
    spatial = spatial_guidance(Linear(3.0, 3.0), Linear(2.5, 2.5))
    plain, graphed = (extrapolate(form, torch.tensor([0, 2]), 2, options, spatial) for form in forms(model()))
    assert torch.equal(plain.ids, graphed.ids)


def forms(decoder: RandAR) -> tuple:
    return decoder, GraphedRandAR(decoder)


def latest(graphed: GraphedRandAR) -> graphs.Buffers:
    return list(graphed.kept.values())[-1]


def calls_of(graphed: GraphedRandAR) -> dict:
    """Those of the latest decode."""
    return list(latest(graphed).calls.values())[-1]


def test_buffers_serve_the_next_decode_of_their_shape_and_forget_the_last():
    plain, graphed = forms(model())
    first = drawn(graphed, 2, 9)
    held = latest(graphed)
    assert torch.equal(drawn(graphed, 2, 9, known=20, seed=3), drawn(plain, 2, 9, known=20, seed=3))
    assert torch.equal(drawn(graphed, 2, 9), first)
    assert latest(graphed) is held and len(graphed.kept) == 1


def test_a_broken_decode_leaves_nothing_in_the_buffers():
    plain, graphed = forms(model())
    drawn(graphed, 2, 9)
    latest(graphed).cache.fill_(torch.nan)
    assert torch.equal(drawn(graphed, 2, 9), drawn(plain, 2, 9))


def test_two_shapes_are_kept_and_a_third_takes_the_place_of_the_one_drawn_longest_ago():
    graphed = GraphedRandAR(model())
    for batch in (1, 3, 1):
        drawn(graphed, batch, 9)
    one, three = latest(graphed), next(iter(graphed.kept.values()))
    assert (len(one.inputs), len(three.inputs)) == (2, 6)  # rows: two a picture
    assert graphed.kept_bytes == one.bytes + three.bytes
    drawn(graphed, 2, 9)
    assert [len(buffers.inputs) for buffers in graphed.kept.values()] == [2, 4]
    assert next(iter(graphed.kept.values())) is one


def test_buffers_of_another_shape_go_where_there_is_no_room_beside_them(monkeypatch):
    plain, graphed = forms(model())
    drawn(graphed, 1, 9)
    make = graphed.new_buffers

    def no_room(*of):
        if graphed.kept:
            raise torch.OutOfMemoryError("feigned")
        return make(*of)

    monkeypatch.setattr(graphed, "new_buffers", no_room)
    assert torch.equal(drawn(graphed, 3, 9), drawn(plain, 3, 9))
    assert [len(buffers.inputs) for buffers in graphed.kept.values()] == [6]
    monkeypatch.setattr(graphed, "new_buffers", lambda *of: (_ for _ in ()).throw(torch.OutOfMemoryError("feigned")))
    with pytest.raises(torch.OutOfMemoryError):
        drawn(graphed, 2, 9)
    assert not graphed.kept


@pytest.mark.parametrize("where", ["run", "capture"])
def test_where_memory_runs_out_in_a_call_nothing_is_kept(where, captures, monkeypatch):
    """Fewer pictures at a time are tried next, in other buffers."""
    plain, graphed = forms(model())

    def no_room(*of):
        raise torch.OutOfMemoryError("feigned")

    with monkeypatch.context() as full, pytest.raises(torch.OutOfMemoryError):
        full.setattr(GraphedRandAR, where, no_room)
        drawn(graphed, 2, 9)
    assert not graphed.kept
    assert torch.equal(drawn(graphed, 1, 9), drawn(plain, 1, 9))


def test_two_decodes_at_once_are_refused():
    graphed = GraphedRandAR(model())
    conditions = (torch.tensor([0]), torch.randperm(36).unsqueeze(0))
    first = graphed.start(*conditions)
    graphed.start(*conditions)
    with pytest.raises(RuntimeError, match="Finish one before the next starts"):
        graphed.step(first, torch.empty(1, 0, dtype=torch.long), 1)


@pytest.mark.parametrize("places", [1, 7, 8, 33])
def test_rows_of_a_mask_begin_where_kernels_want_them(places):
    mask = torch.rand(3, places)
    placed = aligned(mask)
    assert torch.equal(placed, mask) and placed.stride() == (-(-places // 8) * 8, 1)


def test_padding_leaves_no_trace(monkeypatch):
    plain = model()
    expected = drawn(plain, 2, 11)
    for places in ((1,), (40,), (7, 9)):
        monkeypatch.setattr(graphs, "CALL_PLACES", places)
        assert torch.equal(drawn(GraphedRandAR(plain), 2, 11), expected)


def test_buffers_go_when_weights_have_moved():
    decoder = model()
    graphed = GraphedRandAR(decoder)
    drawn(graphed, 1, 9)
    held = latest(graphed)
    other = model(seed=1)
    for parameter, value in zip(decoder.parameters(), other.parameters(), strict=True):
        parameter.data = value.data
    assert torch.equal(drawn(graphed, 1, 9), drawn(other, 1, 9))
    assert list(graphed.kept.values()) == [latest(graphed)] and latest(graphed) is not held


@pytest.mark.parametrize("captured", [False, True])
def test_release_lets_go_of_the_buffers_at_once(captured, captures, monkeypatch):
    if captured:  # like a graph, it holds what it gives and nothing else
        monkeypatch.setattr(GraphedRandAR, "capture", lambda graphed, buffers, run: partial(tuple, run()))
    else:
        monkeypatch.undo()
    graphed = GraphedRandAR(model())
    drawn(graphed, 1, 9, known=25)  # of which the first call is too long to be kept
    assert graphed.kept_bytes > 0
    held = weakref.ref(latest(graphed))
    gc.disable()
    try:
        graphed.release()
        assert graphed.kept_bytes == 0 and held() is None
    finally:
        gc.enable()


def test_all_else_is_the_models_own():
    decoder = model()
    graphed = GraphedRandAR(decoder)
    assert graphed.config is decoder.config and graphed.parallel and graphed.null_class == 3
    order = torch.arange(36).expand(1, -1)
    arguments = (torch.tensor([1]), torch.zeros(1, 36, dtype=torch.long), order)
    assert torch.equal(graphed(*arguments), decoder(*arguments))


def test_a_model_that_is_asked_for_them_gets_them(monkeypatch, capsys):
    """Where there is a card: here one is feigned, so far as no weights go there."""
    from randar_core.checkpoints import bundle

    loaded = []

    def load(path, tokenizer, device, dtype):
        loaded.append(bundle.Model("feigned", model(), torch.nn.Identity(), ("a", "b", "c"), Defaults()))
        return loaded[0]

    monkeypatch.setattr(bundle, "load", load)
    monkeypatch.setattr(torch.cuda, "get_allocator_backend", lambda: "native")
    arguments = SimpleNamespace(model="builtin", tokenizer=None, dtype="bfloat16", graphs=True)
    given = options.load_model(arguments, SimpleNamespace(type="cuda"))
    assert isinstance(given.decoder, GraphedRandAR) and given.tokenizer is loaded[0].tokenizer


def test_graphs_are_refused_with_an_allocator_that_loses_their_memory(monkeypatch):
    from randar_core.checkpoints import bundle

    given = bundle.Model("feigned", model(), torch.nn.Identity(), ("a", "b", "c"), Defaults())
    monkeypatch.setattr(bundle, "load", lambda *_: given)
    monkeypatch.setattr(torch.cuda, "get_allocator_backend", lambda: "cudaMallocAsync")
    arguments = SimpleNamespace(model="builtin", tokenizer=None, dtype="bfloat16", graphs=True)
    with pytest.raises(ValueError, match="needs torch's own allocator, not cudaMallocAsync"):
        options.load_model(arguments, SimpleNamespace(type="cuda"))


def test_graphs_are_refused_where_there_is_no_card(capsys):
    assert main(["generate", "house", "--graphs", "--device", "cpu"]) != 0
    assert "--graphs is for RandAR models on a CUDA device" in capsys.readouterr().err


@needs_cuda
@pytest.mark.parametrize("sampling", [GREEDY, LOOSE])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_graphs_replay_what_they_captured(dtype, sampling, monkeypatch):
    graphed = GraphedRandAR(model("cuda").to(dtype))
    replayed = [drawn(graphed, 2, 9, known, device="cuda", sampling=sampling) for known in (0, 20)]
    assert any(call.replay for call in calls_of(graphed).values()) and latest(graphed).pool_bytes > 0
    with monkeypatch.context() as captured:
        captured.setattr(graphed, "capture", lambda *_: pytest.fail("captured again"))
        assert torch.equal(drawn(graphed, 2, 9, device="cuda", sampling=sampling), replayed[0])
    # The same calls, kernel by kernel.
    graphed.release()
    monkeypatch.setattr(graphed, "capture", lambda *_: None)
    for known, expected in zip((0, 20), replayed, strict=True):
        assert torch.equal(drawn(graphed, 2, 9, known, device="cuda", sampling=sampling), expected)


@needs_cuda
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.05)])
def test_graphs_give_the_plain_models_logits(dtype, tolerance):
    """In 16 bits other kernels round otherwise, and a token that flips changes all that come after."""
    plain, graphed = forms(model("cuda").to(dtype))
    conditions = torch.tensor([0, 1], device="cuda"), torch.stack([torch.randperm(36) for _ in range(2)]).cuda()
    tokens = torch.randint(24, (2, 9), device="cuda")
    states = [each.start(*conditions) for each in (plain, graphed)]
    for fed, queries in ((tokens[:, :0], 4), (tokens[:, :4], 5), (tokens[:, 4:], 6)):
        one, other = (each.step(state, fed, queries) for each, state in zip((plain, graphed), states, strict=True))
        assert (one - other).abs().max() <= tolerance * one.abs().max()


@needs_cuda
@pytest.mark.parametrize("graphed", [False, True])
def test_no_call_waits_for_the_card(graphed):
    """Asking the card anything, between the first call and the last, would end the decode with an error."""
    decoder, canvas = forms(model("cuda"))[graphed], Canvas.empty(2, 6, 6, torch.device("cuda"))
    plan, setting = make_plan(canvas, 9, 0), Setting(torch.arange(2, device="cuda"), GUIDED, LOOSE)
    decode(decoder, canvas, plan, setting)  # captures wait

    def watch(now) -> None:
        torch.cuda.set_sync_debug_mode("error" if now.call < now.calls else "default")

    try:
        decode(decoder, canvas, plan, setting, watch)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@needs_cuda
def test_released_graphs_leave_the_card():
    graphed = GraphedRandAR(model("cuda"))
    drawn(graphed, 2, 9, device="cuda")
    held, reserved = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    size, pool = graphed.kept_bytes, graphed.pool_bytes
    graphed.release()
    assert torch.cuda.memory_allocated() <= held - size
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() <= reserved - pool
    drawn(graphed, 2, 9, device="cuda")
