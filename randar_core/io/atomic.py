"""Files that appear whole or not at all, whatever cuts their writing off."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` to write; it takes the place of `path` when the block ends, and is gone where that fails.

    It is on the disk by then, so that not even a power cut leaves half of it under the name. Raises what the block
    does, and OSError.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first one is what there is to tell
            part.unlink(missing_ok=True)
        raise
