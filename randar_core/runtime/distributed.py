"""The processes that torch's launcher (`torchrun`) started for one command, on one machine or several."""

import contextlib
import pickle
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


@contextlib.contextmanager
def distributed(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that `torchrun` started, if it did; yields the device of this process."""
    if not dist.is_torchelastic_launched():
        yield device
        return
    backend = "nccl" if device.type == "cuda" and dist.is_nccl_available() else "gloo"  # Windows has no NCCL
    # A day: rank 0 may write a large set while the others wait.
    dist.init_process_group(backend, timeout=timedelta(days=1))
    try:
        if device.type == "cuda":
            device = torch.device("cuda", dist.get_node_local_rank())
            torch.cuda.set_device(device)
        yield device
        wait_for_all()  # otherwise one could leave while another still talks to it
    finally:
        dist.destroy_process_group()


def rank_and_world_size() -> tuple[int, int]:
    """The rank of this process, from 0, and the number of processes."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def is_rank_0() -> bool:
    return rank_and_world_size()[0] == 0


def broadcast_from_rank_0(ask: Callable[[], T]) -> T:
    """What `ask` returns on rank 0, in all processes: what is on a disk may change between two looks.

    Raises in all of them what it raises there. Otherwise the others would wait and then report a lost connection.
    """
    answer: list = [None, None]
    if is_rank_0():
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
    """Whether `error` can be sent to another process as it is."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # an exception's own class decides what is raised here
        return False
    return True


def gather_interleaved(values: Tensor, device: torch.device) -> Tensor:
    """[n, …] of every process, equally long -> [n · processes, …], row 0 of each rank first. Sent through `device`."""
    if not dist.is_initialized():
        return values
    values = values.to("cpu" if dist.get_backend() == "gloo" else device)
    gathered = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, values)
    return torch.stack([values.to("cpu") for values in gathered], 1).flatten(0, 1)


def wait_for_all() -> None:
    if dist.is_initialized():
        dist.barrier()


def sum_over_processes(values: Tensor) -> Tensor:
    """`values` added up over all processes, in place."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


def mean_over_processes(value: Tensor | float, device: torch.device) -> float:
    """The mean of one number of every process, by way of `device`."""
    value = torch.as_tensor(value, dtype=torch.float32, device=device).detach().clone()
    return (sum_over_processes(value) / rank_and_world_size()[1]).item()


def gather(rows: Tensor) -> Tensor:
    """[n, …] of every process, in the order of the ranks -> [ranks · n, …]."""
    if not dist.is_initialized():
        return rows
    shares = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(shares, rows.contiguous())
    return torch.cat(shares)


def take_from_rank_0(values: Tensor) -> Tensor:
    """The `values` of the first process, in place, in all of them."""
    if dist.is_initialized():
        dist.broadcast(values, 0)
    return values
