"""Where files can be written, asked before the work begins, and why one can't be written."""

import errno
import tempfile
from pathlib import Path


def writable_picture(path: Path) -> Path:
    """`path`, whose folder is made if needed. Raises ValueError where no PNG can be written there."""
    if path.suffix.lower() != ".png":
        raise ValueError(f"Pictures are written as PNG; '{path.name}' doesn't end in .png. Name another.")
    writable_folder(path.parent)
    return path


def writable_folder(folder: Path) -> Path:
    """`folder`, made if needed. Raises ValueError where nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"Nothing can be written to '{folder}': {error.strerror or error}. Name another.") from error
    return folder


def reason_of(error: OSError) -> str:
    """Why the system can't write a file, as the rest of a sentence, and the remedy where the disk is full."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return f" ({error.strerror or error})." + (" Make room on the disk." if full else "")
