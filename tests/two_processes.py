"""What two processes do together, started by the launcher of torchrun: each begins with torch, see `own_process`."""

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from own_process import forks
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
    """What `function`, one of this module, returns in each of the two processes, by rank."""
    here = {"min_nodes": 1, "max_nodes": 1, "rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "run_id": "tests"}
    config = LaunchConfig(**here, nproc_per_node=2, max_restarts=0, start_method=forks().get_start_method())
    return elastic_launch(config, function)(*arguments)


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
