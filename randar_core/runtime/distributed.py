"""The processes that torch's launcher (`torchrun`) started for one command, on one machine or several."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


@contextlib.contextmanager
def processes(device: torch.device):
    """Join the processes that `torchrun` started, if it did; yields this process's device."""
    if not dist.is_torchelastic_launched():
        yield device
        return
    # Long enough for the first process to write a large set or a picture grid while the others wait.
    backend = "nccl" if device.type == "cuda" and dist.is_nccl_available() else "gloo"  # Windows has no NCCL
    dist.init_process_group(backend, timeout=timedelta(days=1))
    try:
        if device.type == "cuda":
            device = torch.device("cuda", dist.get_node_local_rank())
            torch.cuda.set_device(device)
        yield device
        wait_for_all()  # else one could leave while another still talks to it
    finally:
        dist.destroy_process_group()


def place() -> tuple[int, int]:
    """The number of this process, from 0, and how many there are."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def is_first_process() -> bool:
    return place()[0] == 0


def agreed(ask: Callable[[], T]) -> T:
    """What `ask` answers in the first process, in all of them: what lies on a disk may change between two looks.

    Raises in all of them what it raises there, else the others would wait and then report a lost connection.
    """
    answer: list = [None, None]
    if is_first_process():
        try:
            answer[0] = ask()
        except Exception as error:
            answer[1] = error if survives_pickling(error) else RuntimeError(str(error))
    if dist.is_initialized():
        dist.broadcast_object_list(answer)
    if answer[1] is not None:
        raise answer[1]
    return answer[0]


def survives_pickling(error: Exception) -> bool:
    """Whether another process can be told of `error` as it is."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # an exception's own class decides what is raised here
        return False
    return True


def gather_interleaved(share: Tensor, device: torch.device) -> Tensor:
    """[n, …] of every process, equally long -> [n · processes, …], row 0 of each rank first. By way of `device`."""
    if not dist.is_initialized():
        return share
    share = share.to("cpu" if dist.get_backend() == "gloo" else device)
    shares = [torch.empty_like(share) for _ in range(dist.get_world_size())]
    dist.all_gather(shares, share)
    return torch.stack([each.to("cpu") for each in shares], 1).flatten(0, 1)


def wait_for_all() -> None:
    if dist.is_initialized():
        dist.barrier()
