"""Where `randar generate` puts its pictures: single files or a contact sheet; a set is `shards.SampleSet`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..io.images import contact_sheet, read_metadata, save_png


@dataclass(frozen=True)
class Files:
    """A PNG a picture, in `folder`; `name` and `facts` are those of a picture, by its index."""

    folder: Path
    name: Callable[[int], str]
    facts: Callable[[int], dict]

    def finished(self, pictures: Sequence[int]) -> set[int]:
        """Those of `pictures` whose files are there and were drawn with the same facts."""
        # As they come back from JSON, which knows no tuples.
        return {
            picture
            for picture in pictures
            if read_metadata(self.folder / self.name(picture)) == json.loads(json.dumps(self.facts(picture)))
        }

    def add(self, pictures: Sequence[int], pixels: Tensor) -> None:
        for picture, image in zip(pictures, pixels, strict=True):
            save_png(self.folder / self.name(picture), image, self.facts(picture))


@dataclass(frozen=True)
class Sheet:
    """All pictures in one file."""

    pixels: list[Tensor] = field(default_factory=list)

    def add(self, pictures: Sequence[int], pixels: Tensor) -> None:
        self.pixels.extend(pixels.float().cpu())

    def save(self, path: Path, columns: int, facts: dict) -> None:
        save_png(path, contact_sheet(torch.stack(self.pixels), columns), facts)
