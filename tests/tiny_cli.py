"""The command line in tests: running a command, and looking at the pictures that it reads and writes."""

from pathlib import Path

import numpy as np
from PIL import Image

from randar_core import cli


def run(*words: object) -> int:
    """The exit status of a command."""
    return cli.main([str(word) for word in words])


def randar(*words: object) -> None:
    """Run a command that raises what goes wrong."""
    cli.run([str(word) for word in words])


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def save_mask(path: Path, size: tuple[int, int], box) -> Path:
    """A black picture of `size`, white in `box`."""
    marked = np.zeros(size, dtype=np.uint8)
    marked[box] = 255
    Image.fromarray(marked).save(path)
    return path
