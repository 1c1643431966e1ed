"""Operations of a decode call: how they are counted, and how many a layer of each family launches."""

import json

import pytest
import torch
from random_models import random_model
from speed import launches

CPU = torch.device("cpu")


def counted(run) -> launches.Launches:
    with torch.no_grad(), launches.Launches() as counts:
        run()
    return counts


def test_views_and_allocations_are_not_operations():
    x = torch.zeros(4, 6, dtype=torch.float32)
    counts = counted(lambda: x.view(6, 4).t()[1:].unsqueeze(0).expand(3, -1, -1) + torch.empty_like(x).sum())
    assert set(counts.operations) == {"sum", "add"} and {"view", "t", "slice"} <= set(counts.views)


def test_bytes_are_those_of_inputs_and_outputs():
    x, y = torch.zeros(4, 6, dtype=torch.float32), torch.zeros(6, dtype=torch.float32)
    assert counted(lambda: x + y).bytes == {"add": 4 * (24 + 6 + 24)}
    assert counted(lambda: x.copy_(y.expand(4, 6))).bytes == {"copy_": 4 * (24 + 6)}
    rows = torch.zeros(2, dtype=torch.long)
    assert counted(lambda: torch.nn.functional.embedding(rows, x)).bytes == {"embedding": 2 * 4 * 12}


@pytest.mark.parametrize(
    ("family", "dtype", "most"),
    [
        ("randar", torch.bfloat16, 22),
        ("randar", torch.float32, 20),
        ("rar", torch.bfloat16, 16),
        ("lpd", torch.bfloat16, 11),
        ("arpg", torch.bfloat16, 23.5),
    ],
)
def test_a_layer_launches_no_more_operations_than_it_did(family, dtype, most, monkeypatch):
    small = {name: value for name, value in launches.SMALL.items() if name not in ("layers", "mlp_width")}
    monkeypatch.setattr(launches, "random_model", lambda *a, **changes: random_model(*a, **small, **changes))
    monkeypatch.setattr(launches, "small_call_seconds", lambda *_: 0.001)
    found = launches.measure(launches.first_releases()[family], family, dtype, CPU)
    assert 5 < sum(found["layer"].values()) <= most


def test_the_tables_hold_every_family_and_operator(tmp_path, monkeypatch):
    def measure(release, family, dtype, device):
        layer = {"mm": 5, "_to_copy": 2} if family == "randar" else {"mm": 4.5}
        views, around = {"layer_views": 3.0, "around": 4}, {"around_bytes": 8, "milliseconds": 7.5}
        return {"family": family, "dtype": "float32", "layer": layer, "layer_bytes": {"mm": 2000.0}, **views, **around}

    monkeypatch.setattr(launches, "measure", measure)
    launches.main(["--families", "randar", "arpg", "--dtypes", "float32", "--out", str(tmp_path / "t.md")])
    text = (tmp_path / "t.md").read_text(encoding="utf-8")
    assert "| randar | float32 | 7 | 2 | 0 | 3 | 0.0 | 4 | 7.50 |" in text and "| arpg | float32 | 4.5 |" in text
    assert "| mm | 5 (2 kB) | 4.5 (2 kB) |" in text and "| _to_copy | 2 (0 kB) |  |" in text
    assert len(json.loads((tmp_path / "t.json").read_text())["results"]) == 2
