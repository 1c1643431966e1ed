"""What a training is told: what decides its course, and what it reports meanwhile."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class LoopSetting:
    """What the course of a training depends on, next to its network and its data.

    `batch` counts a step's samples over all processes. `average` is the decay of averaged weights, 0 for none.
    `optimizer` is one of `optimizers.OPTIMIZERS`, see `make_optimizers`.
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
    """How often a training reports, in steps, and where. Nothing here changes what is learnt.

    `overwrite` lets a new training replace files that it finds in `folder`.
    """

    folder: Path
    log_every: int = 20
    save_every: int = 500
    sample_every: int = 1000
    workers: int = 0
    overwrite: bool = False


@dataclass(frozen=True)
class Run:
    """One training: how it learns, what it reports, where it computes, and whether it resumes from a checkpoint."""

    setting: LoopSetting
    reporting: Reporting
    device: torch.device
    resume: bool = False


@dataclass(frozen=True)
class PictureSet:
    """`pictures[i]` is (uint8 [H, W, 3], label); `facts` say what they are, for checkpoints; a name for each label."""

    pictures: Any
    facts: dict[str, Any]
    class_names: tuple[str, ...]

    @classmethod
    def of(cls, pictures) -> "PictureSet":
        """A set that says what it is, such as `Landscapes` or a `Folder`."""
        return cls(pictures, pictures.facts(), pictures.classes)

    def __len__(self) -> int:
        return len(self.pictures)


def facts_of(said: dict[str, Any], unsaid: dict[str, Any]) -> dict[str, Any]:
    """What must be the same at a resume: `said`, less its entries that are as in `unsaid`.

    `unsaid` has the entries that came later, as all trainings before them were: those trainings can still resume.
    """
    return {name: value for name, value in said.items() if name not in unsaid or value != unsaid[name]}


def resume_settings(setting: LoopSetting, facts: dict[str, Any]) -> dict[str, Any]:
    """All that must be the same at a resume."""
    return {"loop": asdict(setting), **facts}
