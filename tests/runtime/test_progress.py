"""How far a run is, as it is told to a terminal, to a log and to nobody."""

import io
import sys

import pytest

from randar_core.runtime.progress_lines import LINE_SECONDS, Progress, duration


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class BrokenPipe(io.StringIO):
    def __init__(self, terminal: bool):
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_log_gets_one_line_every_few_seconds():
    log, clock = io.StringIO(), Clock()
    with Progress("ids", total=1600, unit="pictures", stream=log, clock=clock) as progress:
        for _ in range(1600):
            clock.now += LINE_SECONDS / 160
            progress.advance()
    lines = log.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[4] == "ids: 800 of 1,600 pictures, 16 a second, 50 s left"
    assert lines[-1] == "ids: 1,600 of 1,600 pictures, 16 a second"


def test_a_short_run_writes_nothing_to_a_log():
    log, clock = io.StringIO(), Clock()
    with Progress(total=3, unit="calls", stream=log, clock=clock) as progress:
        for _ in range(3):
            progress.advance()
    assert log.getvalue() == ""


def test_a_resumed_run_counts_its_rate_from_where_it_began():
    log, clock = io.StringIO(), Clock()
    with Progress(total=1200, unit="steps", done=1000, stream=log, clock=clock) as progress:
        clock.now = 100.0
        progress.advance(100)
    assert log.getvalue() == "1,100 of 1,200 steps, 1 a second, 2 min left\n"


def test_a_second_pass_starts_a_new_count():
    log, clock = io.StringIO(), Clock()
    with Progress(stream=log, clock=clock) as progress:
        progress.show(4, 4, "windows")
        clock.now = 20.0
        progress.show(1, 10, "calls")
        clock.now = 40.0
        progress.show(2)
    assert log.getvalue().splitlines()[-1].startswith("2 of 10 calls, 0.1 a second")


def test_a_terminal_gets_a_bar():
    terminal = Terminal()
    with Progress("fish", total=2, unit="calls", stream=terminal) as progress:
        progress.advance(2)
        progress.say({"loss": "0.5"})
    assert "fish: 100%" in terminal.getvalue() and "2/2" in terminal.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_a_stream_that_refuses_does_not_stop_the_work(terminal):
    clock = Clock()
    with Progress(total=3, unit="calls", stream=BrokenPipe(terminal), clock=clock) as progress:
        for _ in range(3):
            clock.now += 100
            progress.advance()
    assert progress.done == 3


@pytest.mark.parametrize("stream", [None, "closed"])
def test_no_stderr_does_not_stop_the_work(monkeypatch, stream):
    if stream == "closed":
        stream = io.StringIO()
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    clock = Clock()
    with Progress(total=3, unit="calls", clock=clock) as progress:
        clock.now += 100
        progress.advance(3)
        progress.say("end")
    assert progress.done == 3


def test_times_are_told_in_the_unit_that_suits_them():
    assert [duration(seconds) for seconds in (5, 89, 120, 5399, 7200)] == ["5 s", "89 s", "2 min", "90 min", "2.0 h"]
