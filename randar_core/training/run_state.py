"""The state of a training in one file: written whole or not at all, read back exactly."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..io.atomic import atomic_write, remove_abandoned
from ..io.changed_settings import changed_settings


@dataclass
class RunState:
    """`step` steps are done. `setting` is all that the course of the training depends on, as JSON-able values.

    The fields are the keys of `checkpoint.pt`.
    """

    step: int
    setting: dict[str, Any]
    objective: dict[str, Any]
    optimizers: list[dict[str, Any]]
    average: dict[str, torch.Tensor]


def save(state: RunState, path: Path) -> None:
    """Replace the file at `path`. Raises OSError where that fails; the file before it is untouched then."""
    remove_abandoned(path)
    try:
        with atomic_write(path) as part, part.open("wb") as file:
            torch.save(vars(state), file)
    # torch's writer turns the error of a full disk into a RuntimeError.
    except (OSError, RuntimeError) as error:
        before = "the one before it is untouched" if path.exists() else "there is none before it"
        reason = str(error).splitlines()[0]
        raise OSError(
            f"The checkpoint of step {state.step} can't be written to '{path}' ({reason}); {before}. "
            "Make room on the disk, then run the same command with --resume."
        ) from error


def load(path: Path) -> RunState:
    """Raises FileNotFoundError where there is none, ValueError where the file isn't a checkpoint of a training."""
    try:
        return RunState(**torch.load(path, map_location="cpu", weights_only=True))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"There is no checkpoint '{path}' to resume. Run without --resume to begin. On several "
            "machines, --out must be a folder that they share."
        ) from None
    # Damaged bytes can make an unpickler raise anything. Its message may advise to load without care.
    except Exception as error:
        raise ValueError(
            f"'{path}' isn't a checkpoint of a training, or it is damaged ({type(error).__name__}). Nothing of it was "
            "run."
        ) from error


def check_setting(state: RunState, setting: dict[str, Any], path: Path) -> None:
    """ValueError naming what differs between the training in `state` and the one that wants to resume it."""
    if changed := changed_settings(state.setting, setting):
        raise ValueError(
            f"The training in '{path}' was begun with other settings ({'; '.join(changed)}). "
            "Resume it with the settings it had, or begin a new one in another --out folder."
        )
