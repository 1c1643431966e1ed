"""What tests run in a process of their own, see `own_process.in_own_process`."""

import contextlib
import io
import runpy
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import torch

from randar_core.checkpoints.model import load_transformer
from randar_core.models.randar import RandAR, RandARConfig


def memory_of_loading(files: Sequence[tuple[Path, torch.dtype]]) -> list[int]:
    """Bytes by which anonymous memory rises while each of the transformers is loaded in its dtype."""
    torch.set_num_threads(1)
    RandAR(RandARConfig(32, 1, 2, 8), device="meta")  # torch loads what it needs for this once
    return [rise_while_loading(*file) for file in files]


def rise_while_loading(path: Path, dtype: torch.dtype) -> int:
    done, seen = threading.Event(), [anonymous_memory()]

    def watch() -> None:
        while not done.wait(0.001):
            seen.append(anonymous_memory())

    thread = threading.Thread(target=watch)
    thread.start()
    transformer = load_transformer(path, dtype=dtype)
    done.set()
    thread.join()
    rise = max(*seen, anonymous_memory()) - seen[0]
    del transformer
    return rise


def anonymous_memory() -> int:
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) * 1024


def printed_by(folder: Path, words: Sequence[str]) -> str:
    """What `python FOLDER WORDS…` prints."""
    with mock.patch.object(sys, "argv", [str(folder), *words]), contextlib.redirect_stdout(io.StringIO()) as printed:
        runpy.run_path(str(folder), run_name="__main__")
    return printed.getvalue()
