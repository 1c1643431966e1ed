"""Fetching released files from their authors' hub repositories."""

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ..io.run_lock import RunLock
from .releases import Release, find_release
from .weights import CheckpointError, read_weights

OnBytes = Callable[[int, int | None], None]  # bytes that have arrived, bytes of the whole file if known


class DownloadError(OSError):
    """A file could not be fetched. The message says how far it came and what to do."""


def download(name: str, folder: str | Path | None = None, on_bytes: OnBytes | None = None) -> Path:
    """Fetch the release `name` and return its file. A file that exists is not fetched again, unless it can't be read.

    name: of a release.
    folder: where to put it; None: `downloads_folder()`.
    on_bytes: called for every piece that arrives. An exception of its own ends the download, which can be resumed.

    It comes from `HF_ENDPOINT`, with the hub library's progress bar. A download that was cut is resumed: the hub
    library alone would start again, so what has arrived is kept here, next to the file. The file gets its name once its
    size, its kind and, where the hub says it, its hash are right. Raises ValueError for an unknown name, DownloadError
    where the file can't be fetched or stored.
    """
    release = find_release(name)
    if release.file is None:
        raise DownloadError(
            f"{name} was never released by its authors: its size is known, its weights are not published."
        )
    folder = Path(folder) if folder else downloads_folder()
    target = folder / release.file
    if target.exists() and is_readable(target):
        return target
    lock = RunLock(target.with_name(f"{target.name}.lock"), f"'{target}'")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except ValueError as error:
        raise DownloadError(str(error)) from error
    except OSError as error:
        raise DownloadError(f"Nothing can be written to the folder '{folder}': {error.strerror or error}.") from error
    try:
        fetch(release, target, on_bytes)
    finally:
        lock.release()
    return target


def downloads_folder() -> Path:
    """Where downloads go by default: a folder among the assets of the hub library. It may not exist.

    Its variables are read now, not when the hub library was imported. Nothing is made: a home that can't be written to
    can still be read from.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    home = os.environ.get("HF_HOME") or os.path.join(cache, "huggingface")
    assets = os.environ.get("HF_ASSETS_CACHE") or os.path.join(home, "assets")
    return Path(os.path.expanduser(os.path.expandvars(assets)), "randar", "models", "default")


def is_readable(path: Path) -> bool:
    try:
        read_weights(path)
    except CheckpointError:
        return False
    return True


def fetch(release: Release, target: Path, on_bytes: OnBytes | None) -> None:
    # Over a second to import, which only a download should cost.
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or None
    url = hf_hub_url(release.repo, release.file, revision=release.revision, endpoint=endpoint)
    try:
        found = get_hf_file_metadata(url)
    except Exception as error:  # the hub library's HTTP client, and with it the exceptions, differ between its versions
        raise DownloadError(
            f"{url} can't be reached: {reason_of(error)} Check the connection to the internet; behind a proxy, set "
            f"HTTPS_PROXY. A file that was fetched in another way belongs into '{target.parent}'."
        ) from error
    version = re.sub(r"\W", "", found.etag or "")
    partial = target.with_name(f"{target.name}.{version[:16]}.part")
    if not version:  # nothing says whether the rest would belong to what is there
        partial.unlink(missing_ok=True)
    there = partial.stat().st_size if partial.exists() else 0
    free = shutil.disk_usage(target.parent).free
    if found.size and free < found.size - there:
        raise DownloadError(
            f"'{target.parent}' has {megabytes(free)} left; {target.name} takes {megabytes(found.size)}."
        )
    try:
        with partial.open("ab") as file:
            into = file if on_bytes is None else ReportingFile(file, on_bytes, found.size)
            http_get(url, into, resume_size=there, headers=build_hf_headers(), expected_size=found.size)
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            reason = f"The disk of '{target.parent}' is full."
        else:
            reason = reason_of(error)
        arrived = partial.stat().st_size if partial.exists() else 0
        raise DownloadError(
            f"The download of {target.name} stopped after {megabytes(arrived)} of {megabytes(found.size)}: {reason} "
            "What has arrived is kept: start the same download again to resume it."
        ) from error
    check(partial, target, version, found.size)
    os.replace(partial, target)


def check(partial: Path, target: Path, version: str, size: int | None) -> None:
    """Delete what has arrived and raise DownloadError unless its size, its hash and its kind are right."""
    arrived, problem = partial.stat().st_size, ""
    # Large files have the SHA-256 of their content for an ETag.
    if size and arrived != size:
        problem = f"{megabytes(arrived)} arrived where {megabytes(size)} were announced"
    elif len(version) == 64 and sha256(partial) != version:
        problem = "its content doesn't have the announced hash: it was damaged on the way"
    else:
        try:
            read_weights(partial)
        except CheckpointError as error:
            problem = str(error).replace(str(partial), target.name)
    if problem:
        partial.unlink()
        raise DownloadError(
            f"The download of {target.name} was deleted: {problem.rstrip('.')}. If you are behind a proxy or a login "
            "page, log in first; then start the download again."
        )


class ReportingFile:
    """A file that reports how far it has been written."""

    def __init__(self, file: BinaryIO, on_bytes: OnBytes, size: int | None):
        self.file, self.on_bytes, self.size = file, on_bytes, size

    def __getattr__(self, name: str):
        return getattr(self.file, name)

    def write(self, data: bytes) -> int:
        written = self.file.write(data)
        self.on_bytes(self.file.tell(), self.size)
        return written


def reason_of(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".") + "."


def megabytes(size: int | None) -> str:
    return "an unknown size" if size is None else f"{size / 1e6:.1f} MB"


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
