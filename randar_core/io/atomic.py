"""Files that appear whole or not at all."""

import contextlib
import glob
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

NAME_KEPT = 40  # characters of the file's name in that of its temporary file: names end at 255 bytes
ABANDONED = 24 * 3600  # seconds after which a temporary file that nobody writes to is what a killed program left


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


def remove_abandoned(path: Path) -> None:
    """Delete temporary files of `path` that programs left when they were killed, for files that are large and few."""
    for left in path.parent.glob(f"{glob.escape(path.name[:NAME_KEPT])}.????????.part"):
        with contextlib.suppress(OSError):  # gone meanwhile, or of another user
            if time.time() - left.lstat().st_mtime > ABANDONED:
                left.unlink()
