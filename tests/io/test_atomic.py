"""Files that appear whole or not at all, whoever else writes them."""

import os

import pytest

from randar_core.io.atomic import ABANDONED, atomic_write, remove_abandoned


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_two_programs_that_write_one_file_do_not_touch_each_others(tmp_path):
    path = tmp_path / "a.txt"
    with atomic_write(path) as one, atomic_write(path) as other:
        assert one != other
        one.write_bytes(b"one")
        other.write_bytes(b"other")
    assert path.read_bytes() == b"one" and list(tmp_path.iterdir()) == [path]


def test_a_name_as_long_as_the_system_allows_can_be_written(tmp_path):
    path = tmp_path / f"{'ä' * 125}.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("a")
    assert path.exists()


def test_only_old_temporary_files_of_the_same_name_are_removed(tmp_path):
    path = tmp_path / "[a].txt"
    for name in ("[a].txt.01234567.part", "[a].txt.89abcdef.part", "a.txt.01234567.part", "[a].txt.part"):
        (tmp_path / name).write_text("half")
    old = (tmp_path / "[a].txt.01234567.part").stat().st_mtime - ABANDONED - 60
    for name in ("[a].txt.01234567.part", "a.txt.01234567.part", "[a].txt.part"):
        os.utime(tmp_path / name, (old, old))
    remove_abandoned(path)
    left = {file.name for file in tmp_path.iterdir()}
    assert left == {"[a].txt.89abcdef.part", "a.txt.01234567.part", "[a].txt.part"}
