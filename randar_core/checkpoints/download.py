"""Fetching released files from their authors' hub repositories."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from .releases import Release, find_release
from .weights import CheckpointError, read_weights

OnBytes = Callable[[int, int | None], None]  # bytes that have come, bytes of the whole file if known


class DownloadError(OSError):
    """A file could not be fetched. The message says how far it came and what to do."""


def download(name: str, folder: str | Path | None = None, on_bytes: OnBytes | None = None) -> Path:
    """Fetch the release `name` and return where it lies; a file that is there already is not fetched again.

    Unless it can't be read, being cut or a web page: then it is replaced, once the new one has come.

    It comes from `HF_ENDPOINT` into `folder`, by default the assets folder of `HF_HOME` (both are looked up now, not
    when the hub library was imported), with the hub library's progress bar. A download that was cut goes on where it
    stopped: the hub library alone would start anew, so what has come is kept here, beside the file, and checked in the
    end. `on_bytes(come, all)` hears of every piece that comes; an exception of its own ends the download, resumably.
    Raises ValueError for an unknown name, DownloadError where the file can't be had or stored.
    """
    release = find_release(name)
    if release.file is None:
        raise DownloadError(
            f"{name} was never released by its authors: its size is known, its weights are not published."
        )
    folder = Path(folder) if folder else downloads_folder()
    target = folder / release.file
    if target.exists() and _is_readable(target):
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(f"The folder '{folder}' can't be made: {error}.") from error
    _fetch(release, target, on_bytes)
    return target


def downloads_folder() -> Path:
    """Where downloads go by default: the assets folder of the hub library, under `HF_HOME`."""
    from huggingface_hub import cached_assets_path

    home = os.environ.get("HF_HOME")
    assets = Path(os.path.expandvars(home)).expanduser() / "assets" if home else None
    return cached_assets_path("randar", namespace="models", assets_dir=assets)


def _is_readable(path: Path) -> bool:
    try:
        read_weights(path)
    except CheckpointError:
        return False
    return True


def _fetch(release: Release, target: Path, on_bytes: OnBytes | None) -> None:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or None
    url = hf_hub_url(release.repo, release.file, revision=release.revision, endpoint=endpoint)
    try:
        found = get_hf_file_metadata(url)
    except Exception as error:  # the hub library's HTTP client, and with it the exceptions, differ between its versions
        raise DownloadError(f"{url} can't be reached: {_reason(error)}") from error
    version = re.sub(r"\W", "", found.etag or "")
    partial = target.with_name(f"{target.name}.{version[:16]}.part")
    here = partial.stat().st_size if partial.exists() else 0
    free = shutil.disk_usage(target.parent).free
    if found.size and free < found.size - here:
        raise DownloadError(
            f"'{target.parent}' has {_megabytes(free)} left; {target.name} takes {_megabytes(found.size)}."
        )
    try:
        with partial.open("ab") as file:
            into = file if on_bytes is None else _Heard(file, on_bytes, found.size)
            http_get(url, into, resume_size=here, headers=build_hf_headers(), expected_size=found.size)
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            reason = f"The disk of '{target.parent}' is full."
        else:
            reason = _reason(error)
        came = partial.stat().st_size if partial.exists() else 0
        raise DownloadError(
            f"The download of {target.name} stopped after {_megabytes(came)} of {_megabytes(found.size)}: {reason} "
            "What has come is kept: start the same download again, and it goes on from there."
        ) from error
    # Large files have the SHA-256 of their content for an ETag.
    if len(version) == 64 and _sha256(partial) != version:
        partial.unlink()
        raise DownloadError(f"{target.name} came damaged and was deleted. Start the download again.")
    os.replace(partial, target)


class _Heard:
    """A file that tells how far it has been written."""

    def __init__(self, file: BinaryIO, on_bytes: OnBytes, size: int | None):
        self.file, self.on_bytes, self.size = file, on_bytes, size

    def __getattr__(self, name: str):
        return getattr(self.file, name)

    def write(self, data: bytes) -> int:
        written = self.file.write(data)
        self.on_bytes(self.file.tell(), self.size)
        return written


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".") + "."


def _megabytes(size: int | None) -> str:
    return "an unknown size" if size is None else f"{size / 1e6:.1f} MB"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
