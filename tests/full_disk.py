"""A disk without room, for the file of one name (Linux)."""

from pathlib import Path

import pytest

needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


def leave_no_room(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing `path` fails as on a full disk: its temporary file, whose name is otherwise random, is /dev/full."""
    monkeypatch.setattr("secrets.token_hex", lambda count: "full")
    path.with_name(f"{path.name}.full.part").symlink_to("/dev/full")
