"""The quality report: its statistics are right, its masks and borders are where it says, every section runs."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from randar_core.checkpoints.bundle import save_bundle
from randar_core.checkpoints.model import load_model
from randar_core.checkpoints.releases import Defaults
from randar_core.decoding.orders import ORDERS
from randar_core.models.llamagen import LlamaGenConfig, LlamaGenTokenizer
from randar_core.models.randar import RandAR, RandARConfig
from randar_core.procedural.render import batch
from randar_core.procedural.scene import PORTRAIT, UPRIGHT
from randar_core.procedural.shapes import CLASSES

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import judge as judge_module  # noqa: E402
import quality  # noqa: E402 - the benchmarks are scripts, not a package
import quality_editing  # noqa: E402
from judge import WEIGHTS, load_judge, pixels_of  # noqa: E402
from quality_bench import Bench, Counts  # noqa: E402
from quality_page import better  # noqa: E402
from quality_sections import context_cells  # noqa: E402
from quality_statistics import (  # noqa: E402
    Reference,
    difference,
    mean_interval,
    ratio_interval,
    square_root,
    wilson,
)

# --- statistics ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "right, count, low, high",
    [(0, 10, 0.0, 0.27753), (10, 10, 0.72247, 1.0), (95, 100, 0.88825, 0.97846), (1, 2, 0.09453, 0.90547)],
)
def test_wilson_intervals_are_those_of_the_textbook(right, count, low, high):
    assert wilson(right, count) == pytest.approx((right / count, low, high), abs=1e-5)


def test_a_share_of_nothing_is_refused():
    with pytest.raises(ValueError, match="0 of 0"):
        wilson(0, 0)


def random_covariance(size: int, seed: int) -> np.ndarray:
    factors = np.random.default_rng(seed).normal(size=(size, size))
    return factors @ factors.T / size


def test_the_square_root_of_a_covariance_squares_to_it():
    matrix = random_covariance(8, 0)
    root = square_root(matrix)
    np.testing.assert_allclose(root @ root, matrix, atol=1e-10)


def test_the_frechet_distance_of_known_gaussians():
    mean, covariance = np.arange(8.0), random_covariance(8, 1)
    reference = Reference(mean, covariance)
    assert reference.frechet(mean, covariance) == pytest.approx(0, abs=1e-8)
    assert reference.frechet(mean + 0.5, covariance) == pytest.approx(8 * 0.25)
    # Where the covariances commute, the distance is the sum of (√a − √b)² over the eigenvalues.
    assert reference.frechet(mean, 9 * covariance) == pytest.approx(4 * np.trace(covariance))


def test_the_frechet_distance_is_symmetric_where_covariances_do_not_commute():
    a, b = random_covariance(6, 2), random_covariance(6, 3)
    zero = np.zeros(6)
    assert Reference(zero, a).frechet(zero, b) == pytest.approx(Reference(zero, b).frechet(zero, a))


def test_equal_sets_have_no_distance_and_more_pictures_a_narrower_interval():
    features = np.random.default_rng(4).normal(size=(2000, 5))
    reference = Reference(features.mean(0), np.cov(features, rowvar=False))
    assert reference.distance(features) == pytest.approx(0, abs=1e-8)
    widths = []
    for count in (50, 1000):
        value, low, high = reference.interval(1 + features[:count], np.arange(count) % 5, resamples=40)
        assert low <= value <= high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_what_parts_the_classes_is_no_uncertainty_where_each_has_its_share():
    classes = np.arange(240) % 12
    features = 10 * np.eye(12)[classes] + np.random.default_rng(6).normal(size=(240, 12))
    reference = Reference(features.mean(0), np.cov(features, rowvar=False))
    _, _, apart = reference.interval(features, classes, resamples=40)
    _, _, together = reference.interval(features, np.zeros(240), resamples=40)
    assert apart < together / 2


@pytest.mark.parametrize("each", [1, 2, 5])
def test_a_few_pictures_have_a_wide_interval(each):
    """As wide as the distances of such sets differ, or wider: a bootstrap within one picture would have no width."""
    draw = np.random.default_rng(7).normal
    features = draw(size=(4000, 8))
    reference = Reference(features.mean(0), np.cov(features, rowvar=False))
    values, reaches = [], []
    for _ in range(40):
        value, _, high = reference.interval(draw(size=(12 * each, 8)), np.arange(12 * each) % 12, resamples=40)
        values.append(value)
        reaches.append(high - value)
    assert np.mean(reaches) > 0.8 * 1.96 * np.std(values)


def test_bootstrap_intervals_hold_the_mean_and_are_as_wide_as_the_normal_one():
    values = np.random.default_rng(5).normal(3, 2, size=400)
    value, low, high = mean_interval(values)
    assert value == pytest.approx(values.mean())
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.15)
    assert ratio_interval(2 * values, values) == pytest.approx((2, 2, 2))


def test_the_interval_of_a_difference_is_that_of_newcombe():
    # Newcombe 1998, table II: 56 of 70 against 48 of 80, method 10.
    found = difference(wilson(56, 70), wilson(48, 80))
    assert found == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


def test_what_both_intervals_allow_for_is_no_difference():
    def record(right: int, frechet: float) -> dict:
        return {"count": 240, "share": wilson(right, 240), "frechet": (frechet, frechet - 0.8, frechet + 0.8)}

    old = record(192, 4.0)
    # Beyond the interval of the old, but within what the new one's adds.
    assert better(record(205, 4.0), old)[1] == "no difference shown" and wilson(192, 240)[2] < 205 / 240
    assert better(record(192, 3.1), old)[1] == "no difference shown"
    assert better(record(215, 4.0), old)[1] == better(record(192, 2.8), old)[1] == "yes"
    assert better(record(165, 4.0), old)[1] == "**no**, worse"
    assert better(record(215, 5.2), old)[1] == "one of the two"


# --- the judge -------------------------------------------------------------------------------------------------------


def test_the_judge_is_small_and_says_how_sure_it_is():
    assert WEIGHTS.stat().st_size < 1_000_000
    judge = load_judge()
    assert judge.accuracy >= 0.99 and judge.accuracy_count >= 1000


def test_a_reference_of_other_pictures_is_refused(monkeypatch):
    monkeypatch.setattr(judge_module, "PORTRAIT", UPRIGHT)
    with pytest.raises(ValueError, match="of other pictures. Make it anew: python benchmarks/judge.py"):
        load_judge()


@pytest.mark.parametrize("size", [64, 128, 192])
def test_the_judge_recognises_fresh_pictures_of_any_size(size):
    pictures, labels = batch(seed=9_876, start=0, count=36, size=size)
    assert (load_judge().look(pixels_of(pictures)).classes == labels).sum() >= 34


def test_the_judge_tells_tokens_that_hold_no_object_by_their_distance():
    judge = load_judge()
    reference = Reference(judge.reference_mean, judge.reference_covariance)
    pictures, _ = batch(seed=9_877, start=0, count=96, size=64, bounds=PORTRAIT)
    noise = torch.rand(96, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    near, far = (reference.distance(judge.look(pixels).features) for pixels in (pixels_of(pictures), noise))
    assert far > 10 * near


# --- masks, classes, borders -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", [8, 16, 32])
def test_one_side_and_four_sides_hold_as_many_cells(grid):
    block, contexts = context_cells(grid)
    counts = {name: {int(known.sum()) for known in places} for name, places in contexts.items()}
    assert counts["one side"] == counts["four sides"] == {grid * grid // 4}
    assert len(contexts["one side"]) == 4
    assert not any((known & block).any() for places in contexts.values() for known in places)


def test_opposite_halves_of_an_object_part_its_box():
    objects = torch.zeros(4, 64, 64, dtype=torch.bool)
    objects[:, 20:41, 10:31] = True
    # Pictures 0, 12, 24 and 36 are of one class and meet all four sides.
    every = [quality_editing.halves(objects[i : i + 1], range(12 * i, 12 * i + 1))[0] for i in range(4)]
    box = quality_editing.around_objects(objects[:1])[0]
    assert box.nonzero().amin(0).tolist() == [16, 6] and box.nonzero().amax(0).tolist() == [44, 34]
    for first, second in (every[:2], every[2:]):
        assert not (first & second).any() and (first | second).equal(box)
        assert abs(int((first & objects[0]).sum()) - int((second & objects[0]).sum())) <= 21
    assert len({tuple(mask.flatten().tolist()) for mask in every}) == 4


def test_a_class_edit_asks_for_every_other_class_and_never_for_its_own():
    pictures = range(12 * 11)
    wanted = quality_editing.other_classes(pictures).tolist()
    assert len({(i % 12, w) for i, w in zip(pictures, wanted, strict=True)}) == 12 * 11
    assert all(i % 12 != w for i, w in zip(pictures, wanted, strict=True))


def test_borders_lie_where_one_window_takes_over_from_another():
    empty = torch.zeros(16, 40, dtype=torch.bool)
    # The middle window stands on columns 12 … 27. The others overlap what is there by half a window or three quarters,
    # draw its outermost two columns anew, and end at the canvas's edges.
    assert quality_editing.border_columns(empty, 16, 8) == [6, 14, 26, 34]
    assert quality_editing.border_columns(empty, 16, 12) == [6, 10, 14, 26, 30, 34]


def test_a_seam_shows_in_the_ratio():
    generator = torch.Generator().manual_seed(0)
    smooth = torch.rand(6, 3, 16, 32, generator=generator)
    seam = smooth.clone()
    seam[..., 16:] += 1
    for pictures, low, high in ((smooth, 0.9, 1.1), (seam, 2.0, 10.0)):
        record = quality_editing.seam_ratios([pictures[:3], pictures[3:]], [16], 4, 8)
        assert all(low < record[f"ratio_{name}"][0] < high for name in ("inside", "near", "phase"))


def test_the_same_places_of_other_pictures_tell_a_border_from_what_is_there_anyway():
    scene = torch.rand(6, 3, 16, 32, generator=torch.Generator().manual_seed(0))
    scene[..., 16:] += 1  # in step with the border, but no fault of it
    seam = scene.clone()
    seam[..., 16:] += 1
    assert quality_editing.across_same_places([scene[:2], scene[2:]], [scene], [16]) == pytest.approx((1, 1, 1))
    assert quality_editing.across_same_places([seam], [scene], [16])[0] == pytest.approx(2, rel=0.1)


def test_a_border_is_drawn_across_by_one_window_and_all_else_stays(tmp_path):
    bench = bench_of(tiny_bundle(tmp_path / "tiny.safetensors", 0))
    ids = torch.randint(16, (3, 8, 20), generator=torch.Generator().manual_seed(0))
    pictures = range(3)
    borders = quality_editing.border_columns(torch.zeros(8, 20, dtype=torch.bool), 8, 4)
    assert borders == [4, 8, 12, 16]
    for border in borders:
        again = quality_editing.drawn_across(bench, ids, border, torch.tensor([0, 1, 2]), bench.options(pictures))
        changed = (again != ids).any(0).any(0).nonzero().flatten().tolist()
        assert changed == [border - 1, border]


def test_confidence_is_judged_by_how_it_ranks_wrong_cells():
    wrong = torch.tensor([[True, True], [False, False]])
    for sure, expected in (([0, 1, 2, 3], (1, 1)), ([3, 2, 1, 0], (0, 0)), ([0, 2, 1, 3], (0.75, 0.5))):
        assert quality_editing.told_apart(torch.tensor(sure).view(2, 2).float(), wrong) == expected
    assert quality_editing.told_apart(torch.ones(2, 2), wrong)[0] == 0.5


def test_exchanged_cells_show_the_next_picture_and_only_real_changes_count():
    ids = torch.randint(3, (4, 6, 6), generator=torch.Generator().manual_seed(0))
    mixed, wrong = quality_editing.exchanged(ids, 0.5, torch.Generator().manual_seed(1))
    assert torch.equal(mixed != ids, wrong) and torch.equal(mixed[wrong], ids.roll(1, 0)[wrong])
    assert 0 < int(wrong.sum()) < 4 * 18


# --- the report ------------------------------------------------------------------------------------------------------


def tiny_bundle(path: Path, seed: int, class_names=CLASSES) -> Path:
    torch.manual_seed(seed)
    decoder = RandAR(RandARConfig(width=16, layers=1, heads=2, codebook_size=16, classes=len(class_names), grid=8))
    tokenizer = LlamaGenTokenizer(LlamaGenConfig(4, (1, 1, 1, 1), 1, 16, 4, 4, 2))
    torch.nn.init.normal_(decoder.pos_instruct_embeddings)
    save_bundle(path, decoder, tokenizer, class_names, Defaults(guidance=2.0, steps=8), "tiny")
    return path


def bench_of(path: Path) -> Bench:
    return Bench(path, load_model(path), load_judge(), batch=400)


def test_every_section_runs_is_kept_and_is_not_measured_again(tmp_path, monkeypatch):
    bench = bench_of(tiny_bundle(tmp_path / "tiny.safetensors", 0))
    monkeypatch.setattr("quality_statistics.Reference.interval", lambda self, features, classes: (1.0, 0.9, 1.1))
    for order in set(ORDERS) - {"random", "raster", "locality-aware"}:
        monkeypatch.delitem(ORDERS, order)
    counts = Counts(1)
    quality.run(bench, counts, quality.SECTIONS, tmp_path / "report")
    report = json.loads((tmp_path / "report" / "quality.json").read_text())
    assert set(report["complete"]) == set(quality.SECTIONS) and all(report["complete"].values())
    text = (tmp_path / "report" / "quality.md").read_text()
    assert "not measured" not in text and "×4, with spatial guidance" in text
    plots = {plot.name for plot in (tmp_path / "report" / "plots").iterdir()}
    assert plots == {f"{name}.png" for name in ("guidance", "parallel", "orders", "context", "editing")}
    assert all(f"plots/{plot}" in text for plot in plots)

    def nothing_is_drawn(*_arguments, **_setting):
        raise AssertionError("a row was measured again")

    monkeypatch.setattr(Bench, "judged", nothing_is_drawn)
    again = quality.run(bench, counts, quality.SECTIONS, tmp_path / "report")
    assert again["sections"] == report["sections"]


def test_a_cut_section_keeps_its_rows_and_the_page_says_what_is_missing(tmp_path, monkeypatch):
    bench = bench_of(tiny_bundle(tmp_path / "tiny.safetensors", 0))
    left = iter([{"seconds": 0.5}, {"seconds": 1.5}])

    def measured_twice(*_arguments):
        return next(left)

    def rows(bench, counts):
        for name in ("load", "one picture", "a quarter of the cells", "a quarter of the picture inpainted"):
            yield quality.Row(name, 1, measured_twice)

    monkeypatch.setitem(quality.SECTIONS, "cost", rows)
    with pytest.raises(StopIteration):
        quality.run(bench, Counts(1), ["cost"], tmp_path)
    report = json.loads((tmp_path / "quality.json").read_text())
    assert list(report["sections"]["cost"]) == ["load", "one picture"] and not report["complete"]["cost"]
    left = iter([{"full": 2.0, "quarter": share * 2.0, "ratio": share} for share in (0.25, 0.42)])
    quality.run(bench, Counts(1), ["cost"], tmp_path)
    text = (tmp_path / "quality.md").read_text()
    assert "| one picture in under 3 s | 1.50 s | yes |" in text and "not measured" in text
    assert "| 0.25 | yes |" in text and "likewise | 0.42 | **no** |" in text


def test_a_run_of_other_counts_keeps_the_rows_that_it_does_not_measure(tmp_path, monkeypatch):
    bench = bench_of(tiny_bundle(tmp_path / "tiny.safetensors", 0))
    record = {"right": 6, "share": [0.5, 0.4, 0.6], "frechet": [1.0, 0.9, 1.1], "seconds": 1.0}
    for names in (("a, 12", "a, 24"), ("a, 36",)):
        rows = [quality.Row(name, int(name[3:]), lambda: dict(record)) for name in names]
        monkeypatch.setitem(quality.SECTIONS, "floors", lambda bench, counts, rows=rows: rows)
        report = quality.run(bench, Counts(1), ["floors"], tmp_path)
    assert list(report["sections"]["floors"]) == ["a, 36", "a, 12", "a, 24"]


def test_the_report_is_utf8_whatever_the_code_page_of_the_system(tmp_path, monkeypatch):
    monkeypatch.setattr("io.text_encoding", lambda encoding, _stacklevel=2: encoding or "cp1252")
    report = {"model": 1, "judge": 2, "sections": {"×2, −1": {}}, "complete": {}}
    quality.write_text(tmp_path / "quality.json", json.dumps(report, ensure_ascii=False))
    assert quality.read_report(tmp_path / "quality.json", {"model": 1, "judge": 2}) == report


def test_figures_of_another_model_are_dropped(tmp_path):
    for seed in (0, 1):
        bench = bench_of(tiny_bundle(tmp_path / f"{seed}.safetensors", seed))
        report = quality.run(bench, Counts(1), ["tokenizer" if seed else "context"], tmp_path / "report")
    assert list(report["sections"]) == ["tokenizer"]


def test_a_model_of_other_classes_is_refused(tmp_path):
    with pytest.raises(ValueError, match="procedural classes; 'tiny' draws 2 others"):
        bench_of(tiny_bundle(tmp_path / "tiny.safetensors", 0, ("cat", "dog")))
