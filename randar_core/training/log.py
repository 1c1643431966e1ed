"""What a training tells meanwhile: a CSV file and a progress bar."""

from __future__ import annotations

import contextlib
import csv
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from ..io.atomic import atomic_write
from ..io.images import reason_of


@contextlib.contextmanager
def progress(total: int, unit: str, title: str, shown: bool = True):
    """Yields a function to call with how many are done since the last call."""
    with tqdm(total=total, unit=unit, desc=title, disable=not shown) as bar:
        yield bar.update


class Log:
    """Rows of one training. A resumed one drops the rows after the step `first`, which are about to come again."""

    def __init__(self, path: Path, figures: Sequence[str], first: int, steps: int, write: bool):
        self.columns = ["step", "samples", "seconds", "rate", *figures]
        self.path, self.first, self.steps, self.wanted = path, first, steps, write
        self.before = 0.0
        self.file = None

    def __enter__(self) -> Log:
        if self.wanted:
            kept = self.kept_rows()
            self.before = float(kept[-1]["seconds"]) if kept else 0.0
            try:
                with atomic_write(self.path) as part, part.open("w", newline="", encoding="utf-8") as file:
                    writer = self.writer_to(file)
                    writer.writeheader()
                    writer.writerows(kept)
                self.file = self.path.open("a", newline="", encoding="utf-8")
            except OSError as error:
                raise self.unwritten(error) from error
            self.writer = self.writer_to(self.file)
        hidden = not self.wanted
        self.bar = tqdm(total=self.steps, initial=self.first, unit=" steps", smoothing=0.05, disable=hidden)
        self.began = time.monotonic()
        return self

    def __exit__(self, *_) -> None:
        self.bar.close()
        if self.file is not None:
            self.file.close()

    def kept_rows(self) -> list[dict[str, str]]:
        if not self.first or not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            # A full disk may have cut the last row.
            whole = [row for row in csv.DictReader(file) if None not in row.values()]
        return [row for row in whole if row["step"].isdigit() and int(row["step"]) <= self.first]

    def unwritten(self, error: OSError) -> OSError:
        goes_on = "The last checkpoint, if there is one, is untouched: with --resume the training goes on from it."
        return OSError(f"The log '{self.path}' can't be written{reason_of(error)} {goes_on}")

    def writer_to(self, file) -> csv.DictWriter:
        return csv.DictWriter(file, self.columns, restval="", lineterminator="\n")

    def write(self, step: int, rate: float, samples: int, figures: Mapping[str, float]) -> None:
        if not self.wanted:
            return
        seconds = self.before + time.monotonic() - self.began
        row = {"step": step, "samples": samples, "seconds": f"{seconds:.1f}", "rate": f"{rate:.3g}"}
        shown = {name: f"{value:.4g}" for name, value in figures.items()}
        try:
            self.writer.writerow(row | shown)
            self.file.flush()
        except OSError as error:
            with contextlib.suppress(OSError):  # it holds the row still, and fails again
                self.file.close()
            self.file = None
            raise self.unwritten(error) from error
        self.bar.set_postfix(shown)

    def advance(self) -> None:
        self.bar.update()
