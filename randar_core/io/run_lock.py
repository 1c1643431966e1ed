"""A lock on what a run writes, so that two runs can't write to the same folder or file. It ends with the process."""

import contextlib
import errno
import os
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

# What file systems without locks answer: some network folders. Work continues there, without the lock.
NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
TAKEN = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}


class RunLock:
    """The file `path` as a lock on `what`, in words; it is deleted when the lock is released."""

    def __init__(self, path: Path, what: str):
        self.path, self.what = path, what
        self.file: IO[bytes] | None = None

    def acquire(self) -> None:
        """Raises ValueError where another run holds the lock."""
        while self.file is None:
            file = self.path.open("a+b")
            try:
                lock(file)
            except OSError as error:
                file.close()
                if error.errno in NO_LOCKS:
                    return
                if error.errno not in TAKEN:
                    raise
                raise ValueError(
                    f"Another run is writing to {self.what}. Wait until it is done, or name another one."
                ) from error
            # The run before may have deleted the file between our opening and our locking it.
            if self.path.exists() and os.path.samestat(os.fstat(file.fileno()), self.path.stat()):
                self.file = file
            else:
                file.close()

    def release(self) -> None:
        if self.file is not None:
            with contextlib.suppress(OSError):  # Windows doesn't delete open files
                self.path.unlink()
            self.file.close()
            self.file = None
            with contextlib.suppress(OSError):
                if fcntl is None:
                    self.path.unlink()


def lock(file: IO[bytes]) -> None:
    """Lock an open file for this process, or raise OSError at once."""
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
