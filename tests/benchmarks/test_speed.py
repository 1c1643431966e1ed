"""The speed benchmarks: what they write, and how another implementation is timed in the same run."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from own_process import in_own_process
from processes import printed_by
from speed import decode as decode_module
from speed import linear_layers, machine
from speed import tokenizer as tokenizer_module
from speed.floors import call_positions, multiplications, projected

from randar_core.checkpoints.bundle import save_bundle
from randar_core.decoding.canvas import Canvas
from randar_core.decoding.conditions import PromptBatch
from randar_core.decoding.guidance import Guidance, Linear
from randar_core.decoding.loop import decode as decode_canvas
from randar_core.decoding.options import DecodingOptions
from randar_core.decoding.plan import make_plan
from randar_core.models.arpg import ARPG, ARPGConfig
from randar_core.models.feed_forward import hidden_width
from randar_core.models.maskgit import MaskGITConfig, MaskGITTokenizer
from randar_core.models.randar import RandAR, RandARConfig
from randar_core.models.rar import RAR, RARConfig

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MACHINE = {
    "name": "a slide rule",
    "threads": 1,
    "torch": "2",
    "bandwidth": 10.0,
    "rates": {"bfloat16": 100.0, "float32": 50.0, "float16": 1.0},
}
OURS = {
    "calls": 21,
    "whole_calls": 81,
    "seconds": 3.0,
    "first_call": 2.0,
    "whole_seconds": 6.0,
    "runs": 1,
    "peak_bytes": 2e9,
    "weights": 1e9,
    "read": 1e9,
    "cache_read": 5e7,
}
OURS |= {"arithmetic": "float32", "cache": 1e8, "activations": 1e7, "multiplications": 1e11}
THEIRS = """
import json, os
case = json.loads(os.environ["BENCH_CASE"])
print("warming up")
print(json.dumps({"seconds": 2.0 * case["batch"], "calls": case["steps"]}))
"""


@pytest.fixture
def decode(monkeypatch):
    """`speed decode`, with a machine and a measurement of the test's own that take no time."""
    monkeypatch.setattr(decode_module, "measure_machine_in_process", lambda *_: MACHINE)
    monkeypatch.setattr(decode_module, "run_case", lambda command, **case: {**case, **OURS})
    return decode_module


def table(path: Path) -> list[list[str]]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in [lines[0], *lines[2:]]]


def test_another_implementation_is_timed_in_the_same_run(decode, tmp_path):
    (tmp_path / "theirs.py").write_text(THEIRS)
    other = f'theirs="{sys.executable}" "{tmp_path / "theirs.py"}"'
    small = ["--sizes", "L", "--batches", "1", "2", "--dtypes", "bfloat16", "--other", other]
    decode.main([*small, "--out", str(tmp_path / "table.md")])
    head, *rows = table(tmp_path / "table.md")
    assert [row[head.index("code")] for row in rows] == ["ours", "theirs", "ours", "theirs"]
    assert [row[head.index("calls")] for row in rows] == ["21 of 81", "88", "21 of 81", "88"]
    assert [row[head.index("runs")] for row in rows] == ["1", "", "1", ""]
    # 1.05 GB at 10 GB/s; two operations for each of 10¹¹ multiplications, in 81 calls at 50 GFLOP/s.
    assert (rows[0][head.index("floor: read")], rows[0][head.index("floor: multiply")]) == ("105.0", "49.4")
    assert [row[head.index("s an image")] for row in rows] == ["6.00", "2.00", "3.00", "2.00"]
    assert [row[head.index("time relative to ours")] for row in rows] == ["", "0.33", "", "0.67"]
    found = json.loads((tmp_path / "table.json").read_text())
    assert found["machine"]["name"] == "a slide rule" and len(found["results"]) == 4
    assert "a slide rule" in (tmp_path / "table.md").read_text()


def test_calls_that_are_not_timed_are_projected_by_their_work():
    # A first call in two seconds and 20 of the other 80 in one, all alike.
    assert projected(3.0, 2.0, 21, [0.01] * 81) == pytest.approx(6.0)
    # The others have three times the work.
    assert projected(3.0, 2.0, 21, [0.01] * 21 + [0.03] * 60) == pytest.approx(12.0)
    assert projected(3.0, 2.0, 81, [0.01] * 81) == 3.0
    assert projected(2.0, 2.0, 1, [0.01] * 81) == pytest.approx(162.0)


def test_a_profile_says_where_the_time_goes(decode, tmp_path, monkeypatch):
    found = decode.by_operator(lambda: torch.ones(64, 64) @ torch.ones(64, 64))
    assert any("mm" in name and count == 1 for name, count, _ in found)
    monkeypatch.setattr(decode, "run_case", lambda command, **case: {**case, **OURS, "operators": found})
    decode.main(["--sizes", "L", "--batches", "4", "--dtypes", "float32", "--out", str(tmp_path / "t.md")])
    assert (
        "## L, float32, pixels 256, steps 88, known 0.0, batch 4: where the time goes"
        in (tmp_path / "t.md").read_text()
    )


def test_another_implementation_that_fails_is_a_row_that_says_so(decode, tmp_path):
    fails = f'theirs="{sys.executable}" -c "raise SystemExit(3)"'
    decode.main(
        ["--sizes", "L", "--batches", "1", "--dtypes", "float32", "--other", fails, "--out", str(tmp_path / "t.md")]
    )
    assert "exit status 3" in table(tmp_path / "t.md")[2]


def test_another_implementation_that_says_no_time_is_named(decode, tmp_path):
    silent = f'theirs="{sys.executable}" -c "print(1)"'
    with pytest.raises(ValueError, match='not JSON with "seconds"'):
        decode.main(["--sizes", "L", "--batches", "1", "--other", silent, "--out", str(tmp_path / "t.md")])


def test_the_suite_covers_sizes_batches_steps_and_known_cells(decode, tmp_path):
    decode.main(["--suite", "--out", str(tmp_path / "t.md")])
    results = json.loads((tmp_path / "t.json").read_text())["results"]
    assert {(case["size"], case["pixels"]) for case in results} == {("L", 256), ("L", 512), ("XL", 256), ("XL", 512)}
    assert {case["steps"] for case in results if case["pixels"] == 256} == {88, 256, 32}
    assert {case["batch"] for case in results} == {1, 4, 16, 64}
    assert {case["batch"] for case in results if case["known"] == 0.75} == {1, 4, 16, 64}
    large = [case for case in results if case["pixels"] == 512]
    assert {case["steps"] for case in large if case["batch"] == 1} == {484, 352, 256, 88, 32}
    assert {case["batch"] for case in large} == {1, 4, 16, 64}
    assert {"float32", "int8"} < {case["dtype"] for case in results} and "auto" not in str(results)


def test_linear_layers_are_timed_by_form_and_number_of_rows(monkeypatch, tmp_path):
    small = RandARConfig(width=32, layers=2, heads=2, codebook_size=16, classes=3, grid=4)
    monkeypatch.setattr(linear_layers, "find_release", lambda name: SimpleNamespace(config=small))
    monkeypatch.setattr(linear_layers, "measure_machine_in_process", lambda *_: MACHINE)
    monkeypatch.setattr(linear_layers, "run_case", lambda command, **case: linear_layers.measure(**case))
    linear_layers.main(["--rows", "2", "5", "--repeats", "1", "--out", f"{tmp_path}/t.md"])
    _, *rows = table(tmp_path / "t.md")
    plain = [row for row in rows if row[0] == "float32, plain"]
    assert {row[0] for row in rows} == set(linear_layers.FORMS) and [row[1] for row in plain] == ["2", "5"]
    found = json.loads((tmp_path / "t.json").read_text())["results"][0]
    assert all(seconds > 0 for seconds in found["apart"].values())  # the table may round them to 0.0 ms
    assert found["weights"] == 2 * (4 * 32 * 32 + 3 * 32 * hidden_width(32))


def test_a_gpu_is_not_asked_for_weights_that_only_the_cpu_has(decode, tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "fastest", lambda device: "cuda")
    monkeypatch.setattr(decode, "resolved", lambda dtype, device: dtype)
    decode.main(["--suite", "--sizes", "L", "--out", str(tmp_path / "t.md")])
    results = json.loads((tmp_path / "t.json").read_text())["results"]
    assert results and not any(case["dtype"] == "int8" for case in results)


def small_randar() -> RandAR:
    return RandAR(RandARConfig(32, 3, 2, 24, classes=3, grid=4))


def small_rar() -> RAR:
    return RAR(RARConfig(32, 3, 2, mlp_width=64, codebook_size=24, classes=3, grid=4))


@pytest.mark.parametrize("build", [small_randar, small_rar])
@pytest.mark.parametrize("known", [0, 12])
@pytest.mark.parametrize("steps", [16, 5, 2])
@torch.inference_mode()
def test_floors_rest_on_what_a_decode_feeds_finds_and_multiplies(build, known, steps):
    model = build().eval()
    for parameter in model.parameters():
        parameter.normal_(0, 0.02)
    linears = {
        name: each for name, each in model.named_modules() if isinstance(each, torch.nn.Linear) and "adaLN" not in name
    }
    before, fed, multiplied, step = [], [], 0, model.step

    def watched(state, *arguments):
        before.append(state.cache.length)
        return step(state, *arguments)

    def count(linear, inputs):
        nonlocal multiplied
        multiplied += inputs[0][0, ..., 0].numel() * linear.weight.numel()

    model.step = watched
    first = linears[next(iter(linears))]
    first.register_forward_pre_hook(lambda _, inputs: fed.append(inputs[0].shape[1]))
    for linear in linears.values():
        linear.register_forward_pre_hook(count)
    canvas = Canvas.empty(1, 4, 4)
    canvas.known.flatten(1)[:, :known] = True
    options = DecodingOptions(Guidance(Linear(1.0, 4.0)), steps, 0)
    plan = make_plan(model, canvas.known, options)
    decode_canvas(model, canvas, plan, PromptBatch.of(torch.tensor([1])).on_cells(4, 4), options)

    sizes = plan.sizes[0]
    positions = call_positions(sizes, known, model.traits.parallel)
    assert positions == list(zip(before, fed, strict=True))
    elements = sum(linear.weight.numel() for linear in linears.values())
    attention = 0  # twice the width for each position that is seen, by every position but in the last layer
    for (start, width), asked in zip(positions, sizes, strict=True):
        seen = [position + 1 for position in range(start, start + width)]
        attention += 2 * 32 * (2 * sum(seen) + sum(seen[-asked:]))
    floor = multiplications(model.config, elements, positions, sizes) - attention
    assert floor <= multiplied < 1.5 * floor
    if steps == 16 and model.traits.parallel:  # otherwise the last layer takes more positions than are asked for
        assert floor == multiplied


@pytest.mark.parametrize("known", [0, 12])
@pytest.mark.parametrize("steps", [16, 5, 1])
@torch.inference_mode()
def test_floors_of_arpg_count_tokens_in_one_stack_and_queries_in_the_other(known, steps):
    model = ARPG(ARPGConfig(32, 4, 2, 24, classes=3, grid=4)).eval()
    for parameter in model.parameters():
        parameter.normal_(0, 0.02)
    linears = [each for each in model.modules() if isinstance(each, torch.nn.Linear)]
    multiplied = 0

    def count(linear, inputs):
        nonlocal multiplied
        multiplied += inputs[0][..., 0].numel() * linear.weight.numel()

    for linear in linears:
        linear.register_forward_pre_hook(count)
    canvas = Canvas.empty(1, 4, 4)
    canvas.known.flatten(1)[:, :known] = True
    options = DecodingOptions(Guidance(Linear(1.0, 4.0)), steps, 0)
    plan = make_plan(model, canvas.known, options)
    decode_canvas(model, canvas, plan, PromptBatch.of(torch.tensor([1])).on_cells(4, 4), options)

    sizes = plan.sizes[0]
    positions = call_positions(sizes, known, True, queries_apart=True)
    pairs = sum(
        before + 1 + step for (before, fed), asked in zip(positions, sizes, strict=True) for step in range(fed - asked)
    )
    pairs += sum(asked * (before + fed - asked) for (before, fed), asked in zip(positions, sizes, strict=True))
    elements = sum(linear.weight.numel() for linear in linears)
    attention = 2 * 2 * 32 * pairs  # two layers of each stack
    floor = multiplications(model.config, elements, positions, sizes) - attention
    # Two rows of guidance; the vector that all queries begin as is multiplied once a call, for both.
    assert multiplied == 2 * floor + len(sizes) * 32 * 32


def test_what_was_on_a_gpu_before_is_not_part_of_a_peak(monkeypatch):
    most, now = [9], 4
    gpu = SimpleNamespace(
        reset_peak_memory_stats=lambda device: most.append(now),
        memory_allocated=lambda device: now,
        max_memory_allocated=lambda device: most[-1],
    )
    monkeypatch.setattr(torch, "get_device_module", lambda device: gpu)
    device = torch.device("cuda")
    machine.forget_peak(device)
    assert machine.peak(device) - machine.held(device) == 0
    monkeypatch.setattr(torch, "get_device_module", lambda device: SimpleNamespace())
    machine.forget_peak(device)
    assert machine.peak(device) == machine.held(device) == 0  # where torch doesn't count, as on MPS


def test_the_tokenizers_are_measured_against_float32(tmp_path, capsys, monkeypatch):
    torch.manual_seed(0)
    sizes = {"channels": 8, "multipliers": (1, 1), "res_blocks": 1, "codebook_size": 16, "codebook_dim": 4}
    save_bundle(tmp_path / "tiny.safetensors", tokenizer=MaskGITTokenizer(MaskGITConfig(**sizes, norm_groups=4)))
    common = {"tokenizer": str(tmp_path / "tiny.safetensors"), "batch": 2, "layout": "channels_last", "pixels": 32}
    common |= {"device": "cpu", "threads": 1, "repeats": 1, "limit": 5, "whole": False}
    # One in a process of its own, as the benchmark runs all of them.
    words = ["tokenizer", "--case", json.dumps({**common, "dtype": "float32"})]
    measured = {"float32": json.loads(in_own_process(printed_by, BENCHMARKS / "speed", words))}
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    tokenizer_module.main(["--case", json.dumps({**common, "dtype": "bfloat16"})])
    measured["bfloat16"] = json.loads(capsys.readouterr().out)
    assert measured["float32"]["same_ids"] == 1
    assert measured["float32"]["psnr"] is None or measured["float32"]["psnr"] > 90
    assert 15 < measured["bfloat16"]["psnr"] < 70
    assert measured["bfloat16"]["decode"]["operations"] > 0
