"""The quality report: its masks and borders are where it says, every section runs, records are found by keys."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from quality import cost
from quality import judge as judge_module
from quality import run as quality
from quality.bench import Bench, Row, Scope
from quality.comparison import FAMILIES, FAMILIES_ENLARGED, SCHEDULES, compared_orders, pooled
from quality.conditions import blended, in_stripes, judged_halves, of_nothing, stripes, within_rows
from quality.cost import COST, timed
from quality.editing import exchanged, separation
from quality.generation import CONTEXT, FLOORS, context_cells
from quality.intervals import Reference, wilson
from quality.judge import WEIGHTS, landscapes, load_judge
from quality.masks import around_subjects, halves, other_classes
from quality.parts import THINGS, picture_with_parts, subject_of
from quality.report import better, by_calls, page
from quality.seams import border_columns, ratio_to_same_columns, redrawn_across, seam_ratios

from randar_core.checkpoints.bundle import save_bundle
from randar_core.checkpoints.model import load_model, load_tokenizer
from randar_core.checkpoints.releases import Defaults
from randar_core.decoding.orders import ORDERS
from randar_core.models.lpd import LPD, LPDConfig
from randar_core.models.patches import PatchConfig, PatchTokenizer
from randar_core.models.randar import RandAR, RandARConfig
from randar_core.procedural.landscape.pictures import CLASSES, DRAWING, picture
from randar_core.training.transformer import initialise


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


@pytest.mark.parametrize(("name", "value"), [("CLASSES", (*CLASSES[:-1], "windmill")), ("DRAWING", DRAWING + 1)])
def test_a_judge_of_other_pictures_is_refused(monkeypatch, name, value):
    monkeypatch.setattr(judge_module, name, value)
    with pytest.raises(ValueError, match="other pictures .* again: python benchmarks/quality/judge.py"):
        load_judge()


@pytest.mark.parametrize("size", [64, 128, 192])
def test_the_judge_recognises_fresh_pictures_of_any_size(size):
    pixels, labels = landscapes(9_876, 36, size, "fresh")
    assert (load_judge().look(pixels).classes == labels.numpy()).sum() >= 34


def test_the_judge_tells_tokens_that_hold_no_object_by_their_distance():
    judge = load_judge()
    reference = Reference.of_classes(judge.means, judge.covariances)
    pictures, _ = landscapes(9_877, 96, 64, "fresh")
    noise = torch.rand(96, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    near, far = (reference.distance(judge.look(pixels).features) for pixels in (pictures, noise))
    assert far > 10 * near


def test_the_reference_of_several_classes_is_that_of_their_pictures_together():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(3, 500, 4)) + 5 * generator.normal(size=(3, 1, 4))
    covariances = np.stack([np.cov(each, rowvar=False, bias=True) for each in features])
    together = features.reshape(-1, 4)
    found = Reference.of_classes(features.mean(1), covariances)
    assert found.mean == pytest.approx(together.mean(0))
    assert found.covariance == pytest.approx(np.cov(together, rowvar=False, bias=True))
    alone = Reference.of_classes(features[:1].mean(1), covariances[:1])
    assert alone.covariance == pytest.approx(covariances[0])


# --- parts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", range(len(CLASSES)), ids=CLASSES)
def test_noting_the_parts_changes_no_pixel_and_finds_what_the_class_is_known_by(label):
    for index in range(6):
        pixels, numbers, parts, found = picture_with_parts(5, index, label)
        assert found == label and np.array_equal(pixels, picture(5, index, label)[0])
        subject = subject_of(numbers, parts, label)
        assert 0.03 < subject.mean() < 0.7
        # Its colours are others than those of what is around it.
        inside, outside = (pixels[chosen].astype(float).mean(0) for chosen in (subject, ~subject))
        assert np.abs(inside - outside).sum() > 10


def test_a_boat_is_found_with_what_is_mirrored_and_a_lighthouse_without_its_beam():
    boat = CLASSES.index("sailing boat")
    for index in range(6):
        _, numbers, parts, _ = picture_with_parts(5, index, boat)
        hull = numbers == parts.index(("boat", 4))
        lowest = np.flatnonzero(subject_of(numbers, parts, boat).any(1))[-1]
        assert lowest == 127 or lowest > np.flatnonzero(hull.any(1))[0] + 10
    light = CLASSES.index("lighthouse")
    for index in range(12):
        _, numbers, parts, _ = picture_with_parts(5, index, light)
        assert np.ptp(np.flatnonzero(subject_of(numbers, parts, light).any(0))) < 0.35 * 128


def test_things_are_the_classes_that_stand_in_a_scene():
    assert [CLASSES[label] for label in THINGS] == [
        "house", "lighthouse", "tree", "sailing boat", "hot-air balloon", "castle",
    ]  # fmt: skip


# --- masks, classes, borders -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", [8, 16, 32])
def test_one_side_and_four_sides_hold_as_many_cells(grid):
    block, contexts = context_cells(grid)
    counts = {name: {int(known.sum()) for known in places} for name, places in contexts.items()}
    assert counts["one side"] == counts["four sides"] == {grid * grid // 4}
    assert len(contexts["one side"]) == 4
    assert not any((known & block).any() for places in contexts.values() for known in places)


def test_opposite_halves_of_a_subject_part_its_box():
    subjects = torch.zeros(4, 64, 64, dtype=torch.bool)
    subjects[:, 20:41, 10:31] = True
    # Pictures 0, 12, 24 and 36 are of one class and meet all four sides.
    every = [halves(subjects[i : i + 1], range(12 * i, 12 * i + 1))[0] for i in range(4)]
    box = around_subjects(subjects[:1])[0]
    assert box.nonzero().amin(0).tolist() == [16, 6] and box.nonzero().amax(0).tolist() == [44, 34]
    for first, second in (every[:2], every[2:]):
        assert not (first & second).any() and (first | second).equal(box)
        assert abs(int((first & subjects[0]).sum()) - int((second & subjects[0]).sum())) <= 21
    assert len({tuple(mask.flatten().tolist()) for mask in every}) == 4


def test_a_class_edit_asks_for_every_other_class_and_never_for_its_own():
    pictures = range(12 * 11)
    wanted = other_classes(pictures).tolist()
    assert len({(i % 12, w) for i, w in zip(pictures, wanted, strict=True)}) == 12 * 11
    assert all(i % 12 != w for i, w in zip(pictures, wanted, strict=True))


def test_a_thing_becomes_every_other_thing(tmp_path):
    bench, pictures = bench_of(tiny_bundle(tmp_path / "tiny.safetensors", 0)), range(6 * 5)
    shown, wanted = bench.scenes(pictures, THINGS).labels.tolist(), other_classes(pictures, THINGS).tolist()
    assert len(set(zip(shown, wanted, strict=True))) == 6 * 5
    assert set(shown) == set(wanted) == set(THINGS) and all(a != b for a, b in zip(shown, wanted, strict=True))


def test_borders_lie_where_one_window_takes_over_from_another():
    empty = torch.zeros(16, 40, dtype=torch.bool)
    # The middle window stands on columns 12 … 27. The others overlap what is there by half a window or three quarters,
    # draw its outermost two columns anew, and end at the canvas's edges.
    assert border_columns(empty, 16, 8) == [6, 14, 26, 34]
    assert border_columns(empty, 16, 12) == [6, 10, 14, 26, 30, 34]


def test_a_seam_shows_in_the_ratio():
    generator = torch.Generator().manual_seed(0)
    smooth = torch.rand(6, 3, 16, 32, generator=generator)
    seam = smooth.clone()
    seam[..., 16:] += 1
    for pictures, low, high in ((smooth, 0.9, 1.1), (seam, 2.0, 10.0)):
        record = seam_ratios([pictures[:3], pictures[3:]], [16], 4)
        assert all(low < record[f"ratio_{name}"][0] < high for name in ("inside", "near"))


def test_the_same_places_of_other_pictures_tell_a_border_from_what_is_there_anyway():
    scene = torch.rand(6, 3, 16, 32, generator=torch.Generator().manual_seed(0))
    scene[..., 16:] += 1  # in step with the border, but no fault of it
    seam = scene.clone()
    seam[..., 16:] += 1
    assert ratio_to_same_columns([scene[:2], scene[2:]], [scene], [16]) == pytest.approx((1, 1, 1))
    assert ratio_to_same_columns([seam], [scene], [16])[0] == pytest.approx(2, rel=0.1)


def test_a_border_is_drawn_across_by_one_window_and_all_else_stays(tmp_path):
    bench = bench_of(tiny_bundle(tmp_path / "tiny.safetensors", 0))
    ids = torch.randint(16, (3, 8, 20), generator=torch.Generator().manual_seed(0))
    pictures = range(3)
    borders = border_columns(torch.zeros(8, 20, dtype=torch.bool), 8, 4)
    assert borders == [4, 8, 12, 16]
    for border in borders:
        again = redrawn_across(bench, ids, border, torch.tensor([0, 1, 2]), bench.options(pictures))
        changed = (again != ids).any(0).any(0).nonzero().flatten().tolist()
        assert changed == [border - 1, border]


def test_confidence_is_judged_by_how_it_ranks_wrong_cells():
    wrong = torch.tensor([[True, True], [False, False]])
    for sure, expected in (([0, 1, 2, 3], (1, 1)), ([3, 2, 1, 0], (0, 0)), ([0, 2, 1, 3], (0.75, 0.5))):
        assert separation(torch.tensor(sure).view(2, 2).float(), wrong) == expected
    assert separation(torch.ones(2, 2), wrong)[0] == 0.5


def test_exchanged_cells_show_the_next_picture_and_only_real_changes_count():
    ids = torch.randint(3, (4, 6, 6), generator=torch.Generator().manual_seed(0))
    mixed, wrong = exchanged(ids, 0.5, torch.Generator().manual_seed(1))
    assert torch.equal(mixed != ids, wrong) and torch.equal(mixed[wrong], ids.roll(1, 0)[wrong])
    assert 0 < int(wrong.sum()) < 4 * 18


# --- the report ------------------------------------------------------------------------------------------------------


def tiny_bundle(path: Path, seed: int, class_names=CLASSES) -> Path:
    torch.manual_seed(seed)
    transformer = RandAR(RandARConfig(width=16, layers=1, heads=2, codebook_size=16, classes=len(class_names), grid=8))
    tokenizer = PatchTokenizer(PatchConfig(16, blocks=(8,), widths=(8,), res_blocks=(1,)))
    torch.nn.init.normal_(tokenizer.quantize.embedding.weight)
    torch.nn.init.normal_(transformer.pos_instruct_embeddings)
    save_bundle(path, transformer, tokenizer, class_names, Defaults(guidance=2.0, steps=8), "tiny")
    return path


def bench_of(path: Path) -> Bench:
    return Bench(path, load_model(path), load_judge(), batch=400)


def test_every_section_runs_is_kept_and_is_not_measured_again(tmp_path, monkeypatch):
    path = tiny_bundle(tmp_path / "tiny.safetensors", 0)
    bench = bench_of(path)
    monkeypatch.setattr(Reference, "interval", lambda self, features, classes: (1.0, 0.9, 1.1))
    for order in set(ORDERS) - {"random", "raster", "locality-aware"}:
        monkeypatch.delitem(ORDERS, order)
    scope = Scope(1, ("random", "raster"), ("cosine", "arccos"), (4,), (path,), (4, 8))
    # Nobody looks at these plots and these seconds.
    monkeypatch.setitem(quality.STYLE, "savefig.dpi", 40)
    monkeypatch.setattr(cost, "timed", lambda task, repeats=1, warm_up=False: timed(task, 1, warm_up=False))
    quality.run(bench, scope, quality.SECTIONS, tmp_path / "report")
    report = json.loads((tmp_path / "report" / "quality.json").read_text())
    assert set(report["complete"]) == {section.name for section in quality.SECTIONS}
    assert all(report["complete"].values()) and all(report["sections"].values())
    text = (tmp_path / "report" / "quality.md").read_text()
    assert "not measured" not in text and "×4, with spatial guidance" in text
    plots = {plot.name for plot in (tmp_path / "report" / "plots").iterdir()}
    drawn = ("guidance", "parallel", "orders", "context", "editing", "families", "features")
    sheets = ("samples", "panoramas", "outpainted", "class-edits", "enlarged", "blends")
    assert plots == {f"{name}.png" for name in drawn} | {f"{name}.jpg" for name in sheets}
    assert all(f"plots/{plot}" in text for plot in plots)

    def nothing_is_drawn(*_arguments, **_setting):
        raise AssertionError("a row was measured again")

    monkeypatch.setattr(Bench, "judged", nothing_is_drawn)
    for plots in ("draw_plots", "draw_sheets"):  # they are drawn anew in any case, which takes as long as to measure
        monkeypatch.setattr(quality, plots, lambda *_: None)
    again = quality.run(bench, scope, quality.SECTIONS, tmp_path / "report")
    assert again["sections"] == report["sections"]


def test_a_stopped_section_keeps_its_rows_and_the_page_says_what_is_missing(tmp_path):
    bench = bench_of(tiny_bundle(tmp_path / "tiny.safetensors", 0))
    left = iter([{"seconds": 0.5}, {"seconds": 1.5}])

    def rows(bench, scope):
        for key in ("load", "picture", "quarter", "quarter-inpainted"):
            yield Row(key, f"the row {key}", 1, lambda: next(left))

    section = replace(COST, rows=rows)
    with pytest.raises(StopIteration):
        quality.run(bench, Scope(1), [section], tmp_path)
    report = json.loads((tmp_path / "quality.json").read_text())
    assert list(report["sections"]["cost"]) == ["load", "picture"] and not report["complete"]["cost"]
    left = iter([{"full": 2.0, "quarter": share * 2.0, "ratio": share} for share in (0.25, 0.42)])
    quality.run(bench, Scope(1), [section], tmp_path)
    text = (tmp_path / "quality.md").read_text()
    assert "| one picture in under 2 s | 1.50 s | yes |" in text and "not measured" in text
    assert "| 0.25 | yes |" in text and "likewise | 0.42 | **no** |" in text
    assert "| the row load | 0.50 s |" in text


JUDGED = {"right": 6, "share": [0.5, 0.4, 0.6], "frechet": [1.0, 0.9, 1.1], "seconds": 1.0}


def test_a_run_of_another_scope_keeps_the_rows_that_it_does_not_measure(tmp_path):
    bench = bench_of(tiny_bundle(tmp_path / "tiny.safetensors", 0))
    for keys in (("a-12", "a-24"), ("a-36",)):
        rows = [Row(key, key, int(key[2:]), lambda: dict(JUDGED)) for key in keys]
        report = quality.run(bench, Scope(1), [replace(FLOORS, rows=lambda bench, scope, rows=rows: rows)], tmp_path)
    assert list(report["sections"]["floors"]) == ["a-36", "a-12", "a-24"]


def test_a_row_is_measured_again_for_more_pictures_or_another_file(tmp_path):
    bench = bench_of(tiny_bundle(tmp_path / "tiny.safetensors", 0))
    measured = []

    def run(count: int, fingerprint: str) -> None:
        def measure() -> dict:
            measured.append((count, fingerprint))
            return dict(JUDGED)

        rows = [Row("a", "a row", count, measure, fingerprint)]
        quality.run(bench, Scope(1), [replace(FLOORS, rows=lambda bench, scope: rows)], tmp_path)

    for count, fingerprint in ((12, "x"), (12, "x"), (6, "x"), (24, "x"), (24, "y")):
        run(count, fingerprint)
    assert measured == [(12, "x"), (24, "x"), (24, "y")]


def test_families_are_compared_by_files_and_calls(tmp_path):
    paths = [tiny_bundle(tmp_path / f"{seed}.safetensors", seed) for seed in (0, 1)]
    scope = Scope(1, models=tuple(paths), family_calls=(4, 8))
    rows = list(FAMILIES.rows(bench_of(paths[0]), scope))
    assert [row.key for row in rows] == ["0, 4", "0, 8", "1, 4", "1, 8"]
    assert len({row.fingerprint for row in rows}) == 2
    record = rows[-1].measure()
    assert {"model": "tiny", "calls": 8}.items() <= record.items() and len(record["inpainted"]) == 3


def test_two_models_of_one_name_are_refused(tmp_path):
    paths = (tmp_path / "a" / "model.safetensors", tmp_path / "b" / "model.safetensors")
    for section in (FAMILIES, FAMILIES_ENLARGED):
        with pytest.raises(ValueError, match="Several of the models are called 'model'"):
            list(section.rows(None, Scope(1, models=paths)))


def test_families_are_compared_at_twice_their_size_and_one_that_is_refused_says_why(tmp_path):
    paths = [tiny_bundle(tmp_path / "able.safetensors", 0), tmp_path / "unable.safetensors"]
    lpd = LPD(LPDConfig(width=16, layers=1, heads=2, codebook_size=16, classes=len(CLASSES), grid=8))
    initialise(lpd, 0)
    save_bundle(paths[1], lpd, load_tokenizer(paths[0]), CLASSES, Defaults(guidance=2.0, steps=8), "tiny")
    rows = list(FAMILIES_ENLARGED.rows(bench_of(paths[0]), Scope(1, models=tuple(paths))))
    able, unable = ({"title": row.title, "count": row.count, **row.measure()} for row in rows)
    assert len(able["share"]) == 3 and "LPD can't" in unable["refused"]
    said = FAMILIES_ENLARGED.text({"able": able, "unable": unable})
    assert unable["refused"] in said and "| 8 + 8 |" in said


def test_orders_are_compared_by_schedules_and_calls(tmp_path):
    scope = Scope(1, orders=("random", "raster"), schedules=("cosine", "arccos"), calls=(4, 8))
    rows = list(SCHEDULES.rows(bench_of(tiny_bundle(tmp_path / "tiny.safetensors", 0)), scope))
    assert [row.key for row in rows][:3] == ["random, cosine, 4", "random, cosine, 8", "random, arccos, 4"]
    record = rows[-1].measure()
    assert {"order": "raster", "schedule": "arccos", "calls": 8}.items() <= record.items()


def test_orders_are_compared_over_the_settings_that_both_were_measured_at():
    def record(order: str, schedule: str, right: int, frechet: float) -> dict:
        figures = {"count": 60, "right": right, "share": wilson(right, 60)}
        figures["frechet"] = [frechet, frechet - 0.4, frechet + 0.3]
        return {"order": order, "schedule": schedule, "calls": 16, **figures}

    old = {"a": record("raster", "cosine", 50, 3.0), "b": record("raster", "arccos", 54, 4.0)}
    better = {"c": record("spiral", "cosine", 58, 2.0), "d": record("spiral", "arccos", 58, 2.0)}
    only = {"e": record("spiral", "lpd", 0, 90.0)}
    text = compared_orders(old | better | only, "spiral", "raster")
    assert "Over the 2 settings" in text and "spiral is recognised in 96.7 %" in text
    assert "spiral measures better than raster" in text and "90" not in text
    assert "show no difference" in compared_orders(old | {"f": record("spiral", "cosine", 51, 3.1)}, "spiral", "raster")
    assert "raster measures worse than spiral" in compared_orders(old | better, "raster", "spiral").replace("\n", " ")
    assert compared_orders(old, "spiral", "raster") == ""
    more = {name: value | {"count": 240} for name, value in better.items()}  # their distances are smaller in any case
    assert compared_orders(old | more, "spiral", "raster") == ""
    assert "can't be compared" in SCHEDULES.text(old | more) and "can't be" not in SCHEDULES.text(old | better)
    shares, distance = pooled(list(old.values()))
    assert shares == wilson(104, 120)
    assert distance == pytest.approx((3.5, 3.5 - 0.4 / 2**0.5, 3.5 + 0.3 / 2**0.5))


# --- conditions ------------------------------------------------------------------------------------------------------


def test_stripes_part_the_canvas_from_left_to_right():
    masks = stripes(3, 2, 9)
    assert masks.shape == (3, 2, 9) and torch.equal(masks.sum(0), torch.ones(2, 9))
    assert masks[:, 0].argmax(0).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    cells = in_stripes((torch.tensor([4, 3]), torch.tensor([2, 7])), 4, 8).on_cells(4, 8)
    # Conditions are in the order of their class ids.
    classes = [[condition.classes for condition in picture.conditions] for picture in cells]
    assert classes == [[(2,), (4,)], [(3,), (7,)]]
    assert cells[0].regions[1, 0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert cells[1].regions[1, 0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_blends_weigh_the_second_class_and_steer_away_from_the_negative_one():
    first, second = torch.tensor([1, 2]), torch.tensor([5, 0])
    mixed = blended(first, second, 0.25, negative=second)
    assert [item.conditions[0].classes for item in mixed.items] == [(1, 5), (0, 2)]
    assert [item.conditions[0].weights for item in mixed.items] == [(0.75, 0.25), (0.25, 0.75)]
    assert [item.negative.classes for item in mixed.items] == [(5,), (0,)]
    assert all(item.negative is None for item in blended(first, second, 0.25).items)


def test_a_picture_of_nothing_has_no_condition():
    assert all(cells.conditions == () for cells in of_nothing(3).on_cells(4, 4))


def test_halves_are_judged_as_the_class_of_their_region(tmp_path, monkeypatch):
    bench = bench_of(tiny_bundle(tmp_path / "tiny.safetensors", 0))
    monkeypatch.setattr(Bench, "judged", lambda self, batches: [labels.tolist() for _, labels in batches])
    assert judged_halves(bench, 8, "halves", two=True) == [[0, 1, 2, 3, *other_classes(range(4)).tolist()]]
    assert judged_halves(bench, 8, "halves", two=False) == [[0, 1, 2, 3] * 2]


def test_regions_may_cost_as_many_rows_as_they_add_and_a_tenth():
    def record(*ratios: float) -> dict:
        return {"ratios": [[ratio, ratio, ratio] for ratio in ratios]}

    assert within_rows(record(1, 1.5, 2.1, 2.74))[1] and within_rows(record(1, 0.9, 1.2, 2))[1]
    assert not within_rows(record(1, 1.7, 2, 2.5))[1] and not within_rows(record(1, 1.5, 2, 2.76))[1]


def test_a_table_by_calls_leaves_missing_cells_empty():
    records = {
        name: {"order": order, "calls": calls}
        for name, order, calls in (("a", "spiral", 8), ("b", "spiral", 16), ("c", "raster", 16))
    }
    lines = by_calls(records, ("order",), lambda record: f"{record['calls']}!").splitlines()
    assert lines == [
        "| order | 16 calls | 8 calls |",
        "| --- | --- | --- |",
        "| spiral | 16! | 8! |",
        "| raster | 16! |  |",
    ]


def test_the_committed_figures_give_the_committed_report():
    report = json.loads((quality.RESULTS / "quality.json").read_text(encoding="utf-8"))
    assert page(report, quality.SECTIONS) == (quality.RESULTS / "quality.md").read_text(encoding="utf-8")


def test_keys_of_rows_are_unique_in_every_section(tmp_path):
    bench = bench_of(tiny_bundle(tmp_path / "tiny.safetensors", 0))
    for section in quality.SECTIONS:
        keys = [row.key for row in section.rows(bench, Scope(1200))]
        assert len(keys) == len(set(keys)), section.name
        assert {key for target in section.targets for key in target.keys} <= set(keys), section.name


def test_the_report_is_utf8_whatever_the_code_page_of_the_system(tmp_path, monkeypatch):
    monkeypatch.setattr("io.text_encoding", lambda encoding, _stacklevel=2: encoding or "cp1252")
    report = {"model": 1, "judge": 2, "sections": {"×2, −1": {}}, "complete": {}}
    quality.write_text(tmp_path / "quality.json", json.dumps(report, ensure_ascii=False))
    assert quality.read_report(tmp_path / "quality.json", {"model": 1, "judge": 2}) == report


def test_figures_of_another_model_are_dropped(tmp_path):
    for seed in (0, 1):
        bench = bench_of(tiny_bundle(tmp_path / f"{seed}.safetensors", seed))
        report = quality.run(bench, Scope(1), [CONTEXT if seed else FLOORS], tmp_path / "report")
    assert list(report["sections"]) == ["context"]


def test_a_model_of_other_classes_is_refused(tmp_path):
    with pytest.raises(ValueError, match="classes of landscapes; 'tiny' draws 2 others"):
        bench_of(tiny_bundle(tmp_path / "tiny.safetensors", 0, ("cat", "dog")))
