"""Files that appear whole or not at all."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

NAME_KEPT = 40  # characters of the file's name in that of its temporary file: names end at 255 bytes


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """A temporary file to write, next to `path`; it replaces `path` when the block ends and is deleted if that fails.

    It is on the disk by then, so that not even a power cut leaves half of it under the name. Its own name is unique:
    two programs that write the same file don't touch each other's. Raises what the block does, and OSError.
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name[:NAME_KEPT]}.{secrets.token_hex(4)}.part")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to report
            temporary.unlink(missing_ok=True)
        raise
