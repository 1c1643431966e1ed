"""How far a run is: a bar at a terminal, a line every few seconds elsewhere, nothing where there is no stderr."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import TextIO

from tqdm import tqdm

LINE_SECONDS = 10.0  # between two lines of a log


class Progress:
    """Counts the work that is done and shows it.

    title: at the beginning of the line.
    total: of the work; None: unknown.
    unit: of the work, as a word.
    done: what was done before.
    shown: whether anything is written.
    stream: where to; None: stderr.
    clock: seconds.

    A service or `pythonw` has no stderr, and a closed pipe refuses to be written to. Neither stops the work.
    """

    def __init__(
        self,
        title: str = "",
        total: int | None = None,
        unit: str = "",
        done: int = 0,
        shown: bool = True,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.title, self.total, self.unit, self.done = title, total, unit, done
        self.note = ""
        self.stream = (stream or sys.stderr) if shown else None
        self.clock = clock
        self.began = self.last_line = clock()
        self.first, self.written = done, None
        self.bar: tqdm | None = None
        if is_terminal(self.stream):
            self.attempt(self.open_bar)

    def open_bar(self) -> None:
        settings = {"unit": f" {self.unit}", "initial": self.done, "smoothing": 0.05, "file": self.stream}
        self.bar = tqdm(desc=self.title or None, total=self.total, **settings)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def advance(self, count: int = 1) -> None:
        """`count` more are done."""
        self.show(self.done + count)

    def show(self, done: int, total: int | None = None, unit: str | None = None) -> None:
        """`done` are done by now. A number below the last one starts a new count."""
        restarted = done < self.done
        self.done = done
        self.total = self.total if total is None else total
        self.unit = self.unit if unit is None else unit
        if restarted:
            self.first, self.began = 0, self.clock()
        if self.bar is not None:
            if restarted:
                self.bar.reset()
            self.bar.total, self.bar.unit = self.total, f" {self.unit}"
            self.attempt(lambda: self.bar.update(done - self.bar.n))
        elif self.clock() - self.last_line >= LINE_SECONDS:
            self.write_line()

    def say(self, note: str | Mapping[str, str]) -> None:
        """A few words that follow the numbers, until others replace them."""
        self.note = note if isinstance(note, str) else ", ".join(f"{name} {value}" for name, value in note.items())
        if self.bar is not None:
            self.attempt(lambda: self.bar.set_postfix_str(self.note, refresh=False))

    def close(self) -> None:
        """The last line; work that took less than the time between two lines writes none."""
        if self.bar is not None:
            self.attempt(self.bar.close)
        elif self.written not in (None, self.done):
            self.write_line()

    def write_line(self) -> None:
        self.last_line, self.written = self.clock(), self.done
        if self.stream is not None:
            self.attempt(lambda: print(self.line(), file=self.stream, flush=True))

    def line(self) -> str:
        """'ids: 1,200 of 16,000 pictures, 35 a second, 7 min left'"""
        seconds = max(self.clock() - self.began, 1e-9)
        rate = (self.done - self.first) / seconds
        count = f"{self.done:,}" if self.total is None else f"{self.done:,} of {self.total:,}"
        words = [f"{count} {self.unit}".rstrip(), f"{rate:.3g} a second"]
        if self.total is not None and rate > 0 and self.done < self.total:
            words.append(f"{duration((self.total - self.done) / rate)} left")
        if self.note:
            words.append(self.note)
        return f"{self.title}: {', '.join(words)}" if self.title else ", ".join(words)

    def attempt(self, write: Callable[[], object]) -> None:
        try:
            write()
        except (OSError, ValueError):  # the other end of a pipe has gone, or the stream was closed: work continues
            self.stream, self.bar = None, None


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person sees `stream` as it is written. A closed stream is nobody's."""
    try:
        return stream is not None and stream.isatty()
    except (OSError, ValueError):
        return False


def duration(seconds: float) -> str:
    """'40 s', '7 min', '3.5 h'"""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
