"""The one training loop: optimizers, schedule, averaging, checkpoints, log. What is learnt is the objective's affair.

An objective is a module with the network as `.model`; `forward(batch, step)` gives the loss and figures for the log,
`after_step(step, optimizer)` does what is due between steps (`optimizer` is the AdamW one) and at times gives figures;
`FIGURES` names them all. Parameters that need no gradient stay as they are. Under `torchrun` every process takes its
share of each global batch; one process with the same batch walks the same way.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from ..runtime.capabilities import mixed_precision
from ..runtime.distributed import rank_and_world_size
from . import run_state
from .log import Log
from .muon import Muon
from .run_state import Checkpoint

CHECKPOINT, LOG = "checkpoint.pt", "log.csv"
OPTIMIZERS = ("adamw", "muon")
TURNS = ("log", "save", "sample")


@dataclass(frozen=True)
class LoopSetting:
    """`batch` counts a step's samples over all processes. `average` is the decay of averaged weights, 0 for none.

    `optimizer` is one of `OPTIMIZERS`, see `make_optimizers`.
    """

    steps: int
    batch: int
    learning_rate: float
    warmup: int = 100
    weight_decay: float = 0.05
    clip: float = 1.0
    average: float = 0.0
    seed: int = 0
    optimizer: str = "adamw"


@dataclass(frozen=True)
class Reporting:
    """How often, in steps, and where. Nothing here changes what is learnt."""

    folder: Path
    log_every: int = 20
    save_every: int = 500
    sample_every: int = 1000
    workers: int = 0


def check_beginning(setting: LoopSetting, reporting: Reporting, resume: bool, facts: dict[str, Any]) -> None:
    """ValueError for a batch that processes can't share, and where the folder doesn't hold what is to be resumed.

    FileNotFoundError where it holds nothing. `facts` are those of `train`.
    """
    processes = rank_and_world_size()[1]
    if setting.batch % processes:
        raise ValueError(f"A batch of {setting.batch} can't be shared evenly among {processes} processes.")
    if not resume and (reporting.folder / CHECKPOINT).exists():
        raise ValueError(
            f"'{reporting.folder}' holds a training already. Add --resume to go on, or name another --out."
        )
    if resume:
        path = reporting.folder / CHECKPOINT
        run_state.check_setting(run_state.load(path), identity(setting, facts), path)


def identity(setting: LoopSetting, facts: dict[str, Any]) -> dict[str, Any]:
    """All that must be the same at a resume."""
    return {"loop": asdict(setting), **facts}


def rate(setting: LoopSetting, step: int) -> float:
    """Learning rate of `step`: linear warm-up, then a cosine to zero (arXiv 1608.03983, without restarts)."""
    warm = min(1.0, (step + 1) / setting.warmup) if setting.warmup else 1.0
    return setting.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / setting.steps))


def make_optimizers(model: nn.Module, setting: LoopSetting) -> list[torch.optim.Optimizer]:
    """AdamW for everything, or Muon for the matrices of `model.layers` and AdamW, which comes first, for the rest.

    Only matrices decay, not norms, biases and other vectors, nor embeddings. Muon scales its steps to the size of
    AdamW's, so both take the one learning rate. Raises ValueError for Muon without such matrices.
    """
    hidden: list[Tensor] = []
    if setting.optimizer == "muon":
        layers = getattr(model, "layers", nn.ModuleList())
        hidden = [parameter for parameter in layers.parameters() if parameter.ndim == 2 and parameter.requires_grad]
        if not hidden:
            raise ValueError("Muon is for the matrices of a decoder's layers; train this network with AdamW.")
    elif setting.optimizer != "adamw":
        raise ValueError(f"The optimizer '{setting.optimizer}' is not known. There are: {', '.join(OPTIMIZERS)}.")
    taken = {id(parameter) for parameter in hidden}
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    groups: dict[bool, list[Tensor]] = {True: [], False: []}
    for parameter in model.parameters():
        if id(parameter) not in taken and parameter.requires_grad:
            groups[parameter.squeeze().ndim > 1 and id(parameter) not in embeddings].append(parameter)
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            [
                {"params": groups[True], "weight_decay": setting.weight_decay},
                {"params": groups[False], "weight_decay": 0.0},
            ],
            lr=setting.learning_rate,
            betas=(0.9, 0.95),
        )
    ]
    if hidden:
        optimizers.append(Muon(hidden, setting.learning_rate, setting.weight_decay))
    return optimizers


class Shares:
    """For a DataLoader: the numbers of this process's samples from step `first` on. Sample n is the n-th of all."""

    def __init__(self, setting: LoopSetting, first: int, rank: int, processes: int):
        self.setting, self.first, self.rank = setting, first, rank
        self.share = setting.batch // processes

    def __iter__(self):
        for step in range(self.first, self.setting.steps):
            start = step * self.setting.batch + self.rank * self.share
            yield list(range(start, start + self.share))

    def __len__(self) -> int:
        return self.setting.steps - self.first


def train(
    objective: nn.Module,
    samples: Dataset,
    setting: LoopSetting,
    reporting: Reporting,
    facts: dict[str, Any],
    device: torch.device,
    resume: bool = False,
    on_sample: Callable[[int], None] | None = None,
) -> nn.Module:
    """Train `objective.model` and return it, with its averaged weights where `setting` asks for them.

    `samples[n]` is sample n of the training as a dict of tensors. `facts` (the network's configuration, the data) are
    what beside `setting` must be the same at a resume. `on_sample(step)` draws a sheet; process 0 alone calls it, with
    the averaged weights in place. Raises ValueError for a resume that doesn't fit, a folder that holds a training
    already and a loss that is no number; OSError where a checkpoint, the log or a sheet can't be written.
    """
    rank, processes = rank_and_world_size()
    check_beginning(setting, reporting, resume, facts)
    path = reporting.folder / CHECKPOINT
    objective.to(device)
    optimizers = make_optimizers(objective.model, setting)
    average = {}
    if setting.average:
        learning = ((name, p) for name, p in objective.model.named_parameters() if p.requires_grad)
        average = {name: parameter.detach().float().clone() for name, parameter in learning}
    first = 0
    if resume:
        found = run_state.load(path)
        objective.load_state_dict(found.objective)
        for optimizer, state in zip(optimizers, found.optimizers, strict=True):
            optimizer.load_state_dict(state)
        average = {name: value.to(device) for name, value in found.average.items()}
        first = found.step

    wrapped = DistributedDataParallel(objective) if processes > 1 else objective
    batches = DataLoader(
        samples,
        batch_sampler=Shares(setting, first, rank, processes),
        num_workers=reporting.workers,
        persistent_workers=reporting.workers > 0,
        pin_memory=device.type == "cuda",
    )
    objective.train()
    columns = ("loss", "gradient", *objective.FIGURES)
    rare: dict[str, float] = {}
    with Log(reporting.folder / LOG, columns, first, setting.steps, write=rank == 0) as log:
        for step, batch in enumerate(batches, first):
            batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate(setting, step)
            with mixed_precision(device):
                loss, figures = wrapped(batch, step)
            objective.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(objective.model.parameters(), setting.clip or math.inf)
            for optimizer in optimizers:
                optimizer.step()
            rare |= objective.after_step(step, optimizers[0])
            update_average(average, objective.model, setting.average, step)
            done = step + 1
            due = {name: done % getattr(reporting, f"{name}_every") == 0 or done == setting.steps for name in TURNS}
            # A training that resumes has no figures from before its checkpoint: those that wait for a row need one now.
            due["log"] |= due["save"] and bool(rare)
            # Looked at only where it matters, since it waits for the device. Once it is no number, so are all later
            # ones, and the same in all processes.
            if any(due.values()) and not norm.isfinite():
                raise ValueError(
                    f"The loss of step {done} is {loss.item():.4g}, its gradient {norm.item():.4g}. Begin anew with a "
                    "lower learning rate; the last checkpoint may still be good."
                )
            if due["log"]:
                figures = {"loss": loss, "gradient": norm, **figures}
                row = {name: mean_over_processes(value, device) for name, value in figures.items()} | rare
                rare = {}
                log.write(done, rate(setting, step), done * setting.batch, row)
            log.advance()
            if rank == 0 and due["save"]:
                states = [optimizer.state_dict() for optimizer in optimizers]
                state = Checkpoint(done, identity(setting, facts), objective.state_dict(), states, average)
                run_state.save(state, path)
            if rank == 0 and on_sample is not None and due["sample"]:
                with averaged(objective.model, average):
                    on_sample(done)
    objective.eval()
    put_weights(objective.model, average)
    return objective.model


@torch.no_grad()
def update_average(average: dict[str, Tensor], model: nn.Module, decay: float, step: int) -> None:
    """Move the averaged weights; early on the decay is lower, so that the first weights are forgotten."""
    if not average:
        return
    decay = min(decay, (1 + step) / (10 + step))
    weights = [model.get_parameter(name).float() for name in average]
    torch._foreach_lerp_(list(average.values()), weights, 1 - decay)


@contextlib.contextmanager
def averaged(model: nn.Module, average: dict[str, Tensor]):
    """Within it, `model` has the weights of `average` (its own where that is empty) and is in eval mode."""
    own = {name: model.get_parameter(name).detach().clone() for name in average}
    put_weights(model, average)
    model.eval()
    try:
        yield
    finally:
        put_weights(model, own)
        model.train()


@torch.no_grad()
def put_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    for name, value in weights.items():
        model.get_parameter(name).copy_(value)


def mean_over_processes(value: Tensor | float, device: torch.device) -> float:
    value = torch.as_tensor(value, dtype=torch.float32, device=device).detach().clone()
    if dist.is_initialized():
        dist.all_reduce(value)
        value /= dist.get_world_size()
    return value.item()
