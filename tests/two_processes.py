"""What two processes do together, started as torchrun starts them, see `process_context`.

What the command `torchrun` itself does before it calls this launcher is not run: it would import torch once more for
each process, which takes longer than their work.
"""

import contextlib
import faulthandler
import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from own_process import process_context
from tiny_trainings import (
    CPU,
    adversarial_run,
    decoder_run,
    muon_run,
    some_ids,
    tokenizer_run,
    transformer_run,
)
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from randar_core.cli import main
from randar_core.runtime.distributed import distributed
from randar_core.training.tokens import save_tokens


def launch(function: Callable, *arguments) -> dict[int, Any]:
    """What `function`, one of this module, returns in each of the two processes, by rank.

    In a thread, where torch leaves the handlers of this process's signals alone.
    """
    here = {"min_nodes": 1, "max_nodes": 1, "rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "run_id": "tests"}
    config = LaunchConfig(**here, nproc_per_node=2, max_restarts=0, start_method=process_context().get_start_method())
    with mock.patch.dict(os.environ), ThreadPoolExecutor(1) as thread:
        return thread.submit(elastic_launch(config, in_time), function, *arguments).result()


def in_time(function: Callable, *arguments):
    """A process that waits for the other one without end is a failure with a traceback."""
    faulthandler.dump_traceback_later(300, exit=True)
    try:
        return function(*arguments)
    finally:
        faulthandler.cancel_dump_traceback_later()


def train(folder: str) -> None:
    """Short trainings of every kind, each under `folder`."""
    torch.set_num_threads(1)
    with distributed(CPU):
        transformer_run(Path(folder, "transformer"))
        muon_run(Path(folder, "muon"))
        tokenizer_run(Path(folder, "tokenizer"))
        decoder_run(Path(folder, "decoder"))
        adversarial_run(Path(folder, "adversarial"))
        transformer_run(Path(folder, "begun_alone"), resume=True)
        ids = some_ids(facts={"shared": True})
        if torch.distributed.get_rank() == 1:
            save_tokens(ids, Path(folder, "ids.safetensors"))


def draw(words: list[str]) -> str:
    """What the command says that is given by `words`."""
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert main(words) == 0
    return said.getvalue()
