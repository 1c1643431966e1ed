"""The state of a training in one file: written whole or not at all, read back exactly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..io.atomic import atomic_write


@dataclass
class Checkpoint:
    """`step` steps are done. `setting` is all that the course of the training depends on, as JSON-able values."""

    step: int
    setting: dict[str, Any]
    objective: dict[str, Any]
    optimizers: list[dict[str, Any]]
    average: dict[str, torch.Tensor]


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Replace the file at `path`. Raises OSError where that fails; the file that was there is untouched then."""
    try:
        with atomic_write(path) as part, part.open("wb") as file:
            torch.save(vars(checkpoint), file)
    # torch's writer turns the error of a full disk into a RuntimeError.
    except (OSError, RuntimeError) as error:
        kept = "the one before it is untouched" if path.exists() else "there is none before it"
        reason = str(error).splitlines()[0]
        raise OSError(
            f"The checkpoint of step {checkpoint.step} can't be written to '{path}' ({reason}); {kept}. "
            "Make room on the disk, then run the same command with --resume."
        ) from error


def load(path: Path) -> Checkpoint:
    """Raises FileNotFoundError where there is none, ValueError where the file is no checkpoint of a training."""
    try:
        return Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"There is no checkpoint '{path}' to resume. Run without --resume to begin. On several "
            "machines, --out must be a folder that they share."
        ) from None
    # Damaged bytes can make an unpickler raise anything.
    except Exception as error:
        raise ValueError(f"'{path}' is no checkpoint of a training, or it is damaged: {error}") from error


def check_setting(checkpoint: Checkpoint, setting: dict[str, Any], path: Path) -> None:
    """ValueError naming what differs between the training in `checkpoint` and the one that wants to resume it."""
    missing = object()
    before, now = _flat(checkpoint.setting), _flat(setting)
    changed = [
        f"{name}: {before.get(name, 'not set')} then, {now.get(name, 'not set')} now"
        for name in sorted(before.keys() | now.keys())
        if before.get(name, missing) != now.get(name, missing)
    ]
    if changed:
        raise ValueError(
            f"The training in '{path}' was begun with other settings ({'; '.join(changed)}). "
            "Resume it with the settings it had, or begin anew in another --out folder."
        )


def _flat(setting: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in setting.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat
