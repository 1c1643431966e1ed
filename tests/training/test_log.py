"""The log of a training."""

import pytest
import torch
from full_disk import leave_no_room, needs_dev_full
from tiny_trainings import kill_at, transformer_run

from randar_core.io.images import save_png
from randar_core.training.log import Log


@needs_dev_full
def test_a_full_disk_is_told_of_by_the_row_or_the_sheet_that_found_no_room(tmp_path, monkeypatch):
    with Log(tmp_path / "log.csv", ["loss"], 0, 2, write=True) as log:
        log.file.close()
        log.file = open("/dev/full", "w")
        log.writer = log.writer_to(log.file)
        with pytest.raises(OSError, match=r"log '.*log.csv' can't be written \(No space .*Make room.* --resume"):
            log.write(1, 0.1, 4, {"loss": 1.0})
    leave_no_room(tmp_path / "next.csv", monkeypatch)
    with pytest.raises(OSError, match="next.csv' can't be written .*Make room"):
        Log(tmp_path / "next.csv", ["loss"], 0, 2, write=True).__enter__()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.csv"]
    leave_no_room(tmp_path / "sheet.png", monkeypatch)
    with pytest.raises(OSError, match=r"picture '.*sheet.png' can't be written \(No space.*Make room"):
        save_png(tmp_path / "sheet.png", torch.zeros(3, 64, 64))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.csv"]
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(OSError, match=r"taken.png' can't be written \([^)]*\)\.$"):  # room wouldn't help
        save_png(tmp_path / "taken.png", torch.zeros(3, 64, 64))


@needs_dev_full
def test_a_row_that_a_full_disk_cut_does_not_hinder_a_resume(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        transformer_run(tmp_path / "run", on_sample=kill_at(7))
    log = tmp_path / "run" / "log.csv"
    log.write_text("\n".join(log.read_text().splitlines()[:5])[:-20])
    transformer_run(tmp_path / "run", resume=True)
    assert [row.split(",")[0] for row in log.read_text().splitlines()] == ["step", *map(str, (1, 2, 3, 7, 8))]
