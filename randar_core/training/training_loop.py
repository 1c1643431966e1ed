"""The one training loop: steps, averaging, checkpoints, log. What is learnt is the objective's affair.

An objective is a module with the network as `.model`; `forward(batch, step)` gives the loss and figures for the log,
`after_step(step, optimizer)` does what is due between steps (`optimizer` is the AdamW one) and at times gives figures;
`FIGURES` names them all. Parameters that need no gradient stay as they are; those of the objective that aren't the
network's (a discriminator's) learn with it. Under `torchrun` every process takes its share of each global batch; one
process with the same batch takes the same course.
"""

import math
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from ..runtime.capabilities import mixed_precision
from ..runtime.distributed import mean_over_processes, rank_and_world_size
from . import run_state
from .averaging import averaged, put_weights, start_average, update_average
from .log import Log
from .optimizers import learning_rate, make_optimizers
from .run_state import RunState
from .settings import LoopSetting, Run, resume_settings

CHECKPOINT, LOG = "checkpoint.pt", "log.csv"
REPORTS = ("log", "save", "sample")


def check_start(run: Run, facts: dict[str, Any], writes: tuple[str, ...] = ()) -> None:
    """What can be refused before a training starts. `facts` are those of `train`.

    `writes` are patterns of files that the training writes to its folder next to the checkpoint and the log. Raises
    ValueError for a batch that processes can't share, where the folder holds files that a new training would replace,
    and where it doesn't hold what is to be resumed; FileNotFoundError where there is nothing to resume.
    """
    processes, folder = rank_and_world_size()[1], run.reporting.folder
    if run.setting.batch % processes:
        raise ValueError(f"A batch of {run.setting.batch} can't be shared evenly among {processes} processes.")
    if run.resume:
        path = folder / CHECKPOINT
        run_state.check_setting(run_state.load(path), resume_settings(run.setting, facts), path)
    elif not run.reporting.overwrite:
        if (folder / CHECKPOINT).exists():
            raise ValueError(
                f"'{folder}' holds a training already. Add --resume to continue it, name another --out, or add "
                "--force to begin a new one in its place."
            )
        if found := sorted(path.name for pattern in (LOG, *writes) for path in folder.glob(pattern)):
            more = f" and {len(found) - 5} more" if len(found) > 5 else ""
            raise ValueError(
                f"'{folder}' holds files that a new training would replace ({', '.join(found[:5])}{more}). Name "
                "another --out, or add --force to replace them."
            )


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
    run: Run,
    facts: dict[str, Any],
    on_sample: Callable[[int], None] | None = None,
) -> nn.Module:
    """Train `objective.model` and return it, with its averaged weights where the run's setting asks for them.

    `samples[n]` is sample n of the training as a dict of tensors. `facts` (the network's configuration, the data) must
    be the same at a resume, as the run's setting must. `on_sample(step)` draws a sheet; process 0 alone calls it, with
    the averaged weights in place. Raises as `check_start` does, ValueError for a loss that isn't finite, and OSError
    where a checkpoint, the log or a sheet can't be written.
    """
    setting, reporting, device = run.setting, run.reporting, run.device
    rank, processes = rank_and_world_size()
    path = reporting.folder / CHECKPOINT
    objective.to(device)
    own = {id(parameter) for parameter in objective.model.parameters()}
    beside = [each for each in objective.parameters() if each.requires_grad and id(each) not in own]
    optimizers = make_optimizers(objective.model, setting, beside)
    average = start_average(objective.model, setting.average)
    first = 0
    if run.resume:
        found = run_state.load(path)
        run_state.check_setting(found, resume_settings(setting, facts), path)
        objective.load_state_dict(found.objective)
        for optimizer, state in zip(optimizers, found.optimizers, strict=True):
            optimizer.load_state_dict(state)
        average = {name: value.to(device) for name, value in found.average.items()}
        first = found.step
    else:
        check_start(run, facts)
        if rank == 0:  # a resume after a kill must not find the checkpoint of the training that this one replaces
            path.unlink(missing_ok=True)

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
                    group["lr"] = learning_rate(setting, step)
            with mixed_precision(device):
                loss, figures = wrapped(batch, step)
            objective.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(objective.model.parameters(), setting.clip or math.inf)
            nn.utils.clip_grad_norm_(beside, setting.clip or math.inf)
            for optimizer in optimizers:
                optimizer.step()
            rare |= objective.after_step(step, optimizers[0])
            update_average(average, objective.model, setting.average, step)
            done = step + 1
            due = {name: done % getattr(reporting, f"{name}_every") == 0 or done == setting.steps for name in REPORTS}
            # A training that resumes has no figures from before its checkpoint: those that wait for a row need one now.
            due["log"] |= due["save"] and bool(rare)
            # Looked at only where it matters, since it waits for the device. Once it isn't finite, no later one is, and
            # all processes have the same one.
            if any(due.values()) and not norm.isfinite():
                raise ValueError(
                    f"The loss of step {done} is {loss.item():.4g}, its gradient {norm.item():.4g}. Begin again with a "
                    "lower learning rate; the last checkpoint may still be good."
                )
            if due["log"]:
                figures = {"loss": loss, "gradient": norm, **figures}
                row = {name: mean_over_processes(value, device) for name, value in figures.items()} | rare
                rare = {}
                log.write(done, learning_rate(setting, step), done * setting.batch, row)
            log.advance()
            if rank == 0 and due["save"]:
                states = [optimizer.state_dict() for optimizer in optimizers]
                settings = resume_settings(setting, facts)
                run_state.save(RunState(done, settings, objective.state_dict(), states, average), path)
            if rank == 0 and on_sample is not None and due["sample"]:
                with averaged(objective.model, average):
                    on_sample(done)
    objective.eval()
    put_weights(objective.model, average)
    return objective.model
