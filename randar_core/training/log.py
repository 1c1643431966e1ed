"""What a training tells meanwhile: a CSV file, and its progress on stderr."""

import contextlib
import csv
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..io.atomic import atomic_write
from ..io.writable import reason_of
from ..runtime.progress_lines import Progress


class Log:
    """Rows of one training. A resumed one drops the rows after the step `first`, which are about to come again."""

    def __init__(self, path: Path, figures: Sequence[str], first: int, steps: int, write: bool):
        self.columns = ["step", "samples", "seconds", "rate", *figures]
        self.path, self.first, self.steps, self.enabled = path, first, steps, write
        self.seconds_before = 0.0
        self.file = None

    def __enter__(self) -> "Log":
        if self.enabled:
            rows = self.rows_before()
            self.seconds_before = float(rows[-1]["seconds"]) if rows else 0.0
            try:
                with atomic_write(self.path) as part, part.open("w", newline="", encoding="utf-8") as file:
                    writer = self.writer_to(file)
                    writer.writeheader()
                    writer.writerows(rows)
                self.file = self.path.open("a", newline="", encoding="utf-8")
            except OSError as error:
                raise self.write_error(error) from error
            self.writer = self.writer_to(self.file)
        self.progress = Progress(total=self.steps, unit="steps", done=self.first, shown=self.enabled)
        self.began = time.monotonic()
        return self

    def __exit__(self, *_) -> None:
        self.progress.close()
        if self.file is not None:
            self.file.close()

    def rows_before(self) -> list[dict[str, str]]:
        """The whole rows up to the step `first`."""
        if not self.first or not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            # A full disk may have cut the last row.
            whole = [row for row in csv.DictReader(file) if None not in row.values()]
        return [row for row in whole if row["step"].isdigit() and int(row["step"]) <= self.first]

    def write_error(self, error: OSError) -> OSError:
        remedy = "The last checkpoint, if there is one, is untouched: --resume continues from it."
        return OSError(f"The log '{self.path}' can't be written{reason_of(error)} {remedy}")

    def writer_to(self, file) -> csv.DictWriter:
        return csv.DictWriter(file, self.columns, restval="", lineterminator="\n")

    def write(self, step: int, rate: float, samples: int, figures: Mapping[str, float]) -> None:
        if not self.enabled:
            return
        seconds = self.seconds_before + time.monotonic() - self.began
        row = {"step": step, "samples": samples, "seconds": f"{seconds:.1f}", "rate": f"{rate:.3g}"}
        rounded = {name: f"{value:.4g}" for name, value in figures.items()}
        try:
            self.writer.writerow(row | rounded)
            self.file.flush()
        except OSError as error:
            with contextlib.suppress(OSError):  # it holds the row still, and fails again
                self.file.close()
            self.file = None
            raise self.write_error(error) from error
        self.progress.say(rounded)

    def advance(self) -> None:
        self.progress.advance()
