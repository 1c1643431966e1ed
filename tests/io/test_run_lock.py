"""Two runs that would write to the same place."""

import errno
import subprocess
import sys

import pytest

from randar_core.io import run_lock
from randar_core.io.run_lock import RunLock

HOLD = """
import sys
from pathlib import Path
from randar_core.io.run_lock import RunLock
lock = RunLock(Path(sys.argv[1]), "the folder")
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other_run(tmp_path):
    """A process that holds the lock."""
    words = [sys.executable, "-c", HOLD, str(tmp_path / ".lock")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.stdin.close()


def test_a_second_run_is_refused_while_the_first_is_there(tmp_path, other_run):
    with pytest.raises(ValueError, match="Another run is writing to the folder 'out'"):
        RunLock(tmp_path / ".lock", "the folder 'out'").acquire()


def test_a_killed_run_leaves_no_lock(tmp_path, other_run):
    other_run.kill()
    other_run.wait()
    lock = RunLock(tmp_path / ".lock", "the folder")
    lock.acquire()
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_a_released_lock_can_be_taken_again(tmp_path):
    first, second = (RunLock(tmp_path / ".lock", "the folder") for _ in range(2))
    first.acquire()
    with pytest.raises(ValueError, match="Another run"):
        second.acquire()
    first.release()
    second.acquire()
    second.release()
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_does_not_stop_the_work(tmp_path, monkeypatch):
    def unsupported(file):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(run_lock, "lock", unsupported)
    lock = RunLock(tmp_path / ".lock", "the folder")
    lock.acquire()
    lock.release()
