"""Downloads, against a server on this machine that plays the hub."""

import hashlib
import io
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from huggingface_hub import cached_assets_path

from randar_core.checkpoints import download as downloading
from randar_core.checkpoints.download import DownloadError, download, downloads_folder
from randar_core.checkpoints.locate import weight_files
from randar_core.checkpoints.releases import RELEASES, find_release


def file_of(tensor: torch.Tensor) -> bytes:
    torch.save({"weight": tensor}, file := io.BytesIO())
    return file.getvalue()


WEIGHTS = file_of(torch.arange(25600.0))
HALF = len(WEIGHTS) // 2 // 1024 * 1024  # of what is cut in the middle, whole pieces are kept
TOKENIZER = find_release("llamagen-vq16")


@dataclass
class Hub:
    """What the server has and does: `answers` are taken one a GET ("all", "half", "fail"), then it gives all."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    sha256: str | None = hashlib.sha256(WEIGHTS).hexdigest()
    answers: list[str] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            return

        def answer(self, status: int, body: bytes = b"", sent: int | None = None, **headers):
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body[:sent])
            if sent is not None:
                self.close_connection = True

        def do_GET(self):
            content = state.files.get(self.path)
            if content is None:
                return self.answer(404, X_Error_Code="EntryNotFound")
            facts = {"X_Repo_Commit": "c" * 40, "Accept_Ranges": "bytes"}
            if state.sha256:
                facts["ETag"] = f'"{state.sha256}"'
            if self.command == "HEAD":
                return self.answer(200, content, **facts)
            wanted = self.headers.get("Range")
            state.ranges.append(wanted)
            does = state.answers.pop(0) if state.answers else "all"
            if does == "fail":
                return self.answer(503)
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted else 0
            part = content[start:]
            if wanted:
                facts["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.answer(206 if wanted else 200, part, len(part) // 2 if does == "half" else None, **facts)

        do_HEAD = do_GET  # noqa: N815  the name that http.server calls

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    state.files[f"/{TOKENIZER.repo}/resolve/main/{TOKENIZER.file}"] = WEIGHTS
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", state.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    # The hub library writes 10 MiB at a time, and forgets what came of the last piece.
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1024)
    yield state
    server.shutdown()
    server.server_close()


def test_a_file_comes_whole_into_the_folder(hub, tmp_path):
    path = download("llamagen-vq16", tmp_path / "models")
    assert path == tmp_path / "models" / TOKENIZER.file
    assert path.read_bytes() == WEIGHTS
    assert list(path.parent.iterdir()) == [path]


def test_without_a_folder_it_goes_to_the_home_of_the_hub(hub, tmp_path):
    path = download("llamagen-vq16")
    assert tmp_path / "home" in path.parents
    assert path.read_bytes() == WEIGHTS


def test_a_file_that_is_there_is_not_fetched_again(hub, tmp_path):
    download("llamagen-vq16", tmp_path)
    download("llamagen-vq16", tmp_path)
    assert hub.ranges == [None]


@pytest.mark.parametrize(
    "broken", [WEIGHTS[:5000], b"<!DOCTYPE html>", b"version https://git-lfs.github.com/spec/v1\n"]
)
def test_a_file_that_cannot_be_read_is_replaced_once_the_new_one_has_come(hub, tmp_path, broken):
    path = tmp_path / TOKENIZER.file
    path.write_bytes(broken)
    hub.answers = ["half", "fail"]
    with pytest.raises(DownloadError, match="stopped"):
        download("llamagen-vq16", tmp_path)
    assert path.read_bytes() == broken
    assert download("llamagen-vq16", tmp_path).read_bytes() == WEIGHTS


def test_a_cut_in_the_middle_is_mended_within_the_download(hub, tmp_path):
    hub.answers = ["half"]
    assert download("llamagen-vq16", tmp_path).read_bytes() == WEIGHTS
    assert hub.ranges == [None, f"bytes={HALF}-"]


def test_a_download_that_stopped_goes_on_where_it_stopped(hub, tmp_path):
    hub.answers = ["half", "fail"]
    with pytest.raises(DownloadError, match=r"stopped after 0\.1 MB of 0\.1 MB: .*503.* to resume it"):
        download("llamagen-vq16", tmp_path)
    assert not (tmp_path / TOKENIZER.file).exists()
    hub.ranges.clear()
    assert download("llamagen-vq16", tmp_path).read_bytes() == WEIGHTS
    assert hub.ranges == [f"bytes={HALF}-"]


def test_a_damaged_download_is_not_kept(hub, tmp_path):
    hub.sha256 = "0" * 64
    with pytest.raises(DownloadError, match="was deleted: its content doesn't have the announced hash"):
        download("llamagen-vq16", tmp_path)
    assert not list(tmp_path.glob("vq*"))


def test_a_file_that_the_hub_lacks_is_named(hub, tmp_path):
    with pytest.raises(DownloadError, match=f"{hub.url}/fun-research/TiTok/resolve/main/maskgit.*404"):
        download("maskgit-vqgan", tmp_path)


def test_a_hub_out_of_reach_is_named(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match="http://127.0.0.1:9/FoundationVision.* can't be reached"):
        download("llamagen-vq16", tmp_path)


def test_too_little_room_is_told_before_anything_is_fetched(hub, tmp_path, monkeypatch):
    usage = downloading.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(downloading.shutil, "disk_usage", lambda folder: usage._replace(free=10))
    with pytest.raises(DownloadError, match="has 0.0 MB left"):
        download("llamagen-vq16", tmp_path)
    assert hub.ranges == []


def test_a_folder_that_cannot_be_made_is_named(hub, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match="Nothing can be written to the folder '.*file.models'"):
        download("llamagen-vq16", tmp_path / "file" / "models")


def test_an_unknown_name_suggests_near_ones():
    with pytest.raises(ValueError, match="Did you mean .*randar-xl-llamagen"):
        download("randar-xl")


def test_a_size_that_was_never_released_is_said_to_be():
    with pytest.raises(DownloadError, match="never released"):
        download("randar-xxl-llamagen")


def test_every_release_has_a_tokenizer_among_them():
    names = {release.name for release in RELEASES}
    assert len(names) == len(RELEASES)
    assert {release.tokenizer for release in RELEASES} - {None} <= names


def test_a_listener_hears_of_every_piece_and_may_stop_resumably(hub, tmp_path):
    heard = []

    def stop(come, size):
        heard.append((come, size))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(TOKENIZER.name, tmp_path, stop)
    assert heard and heard[0][1] == len(WEIGHTS)
    assert download(TOKENIZER.name, tmp_path, lambda come, size: heard.append((come, size))).read_bytes() == WEIGHTS
    assert hub.ranges[-1] is None or hub.ranges[-1].startswith("bytes=")


LOGIN_PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>network login</body></html>"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (LOGIN_PAGE, "is a web page, not weights"),
        (
            b'{"error": "Access to this model is restricted"}',
            "is JSON, such as the error message of a server.*restricted",
        ),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "is XML.*AccessDenied"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (WEIGHTS[:HALF], "cut or damaged"),
        (b"", "is empty"),
    ],
)
@pytest.mark.parametrize("etag", [None, "gateway"])
def test_what_a_gateway_answers_in_place_of_the_file_is_not_kept(hub, tmp_path, answer, said, etag):
    """Status 200 and no hash, as a login page comes: only what arrived can tell."""
    hub.files = {path: answer for path in hub.files}
    hub.sha256 = etag
    with pytest.raises(DownloadError, match=f"{TOKENIZER.file} was deleted: .*{said}.*behind a proxy"):
        download("llamagen-vq16", tmp_path)
    assert not list(tmp_path.glob("vq*"))


def test_more_than_was_announced_is_not_kept(hub, tmp_path):
    """Such as the rest of another version, behind what had arrived of the first."""
    version = hub.sha256[:16]
    (tmp_path / f"{TOKENIZER.file}.{version}.part").write_bytes(WEIGHTS + b"more")
    with pytest.raises(DownloadError):
        download("llamagen-vq16", tmp_path)
    assert not (tmp_path / TOKENIZER.file).exists()


def test_without_a_version_what_had_arrived_is_not_resumed(hub, tmp_path):
    hub.sha256 = None
    (tmp_path / f"{TOKENIZER.file}..part").write_bytes(b"of another version")
    assert download("llamagen-vq16", tmp_path).read_bytes() == WEIGHTS
    assert hub.ranges == [None]


def test_a_second_download_of_the_same_file_is_refused(hub, tmp_path):
    def meanwhile(come, size):
        with pytest.raises(DownloadError, match="Another run is writing to .*vq_ds16_c2i.pt"):
            download("llamagen-vq16", tmp_path)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download("llamagen-vq16", tmp_path, meanwhile)
    assert download("llamagen-vq16", tmp_path).read_bytes() == WEIGHTS


@pytest.mark.parametrize("variable", ["HF_HOME", "HF_ASSETS_CACHE"])
def test_a_home_that_cannot_be_written_is_only_named(monkeypatch, tmp_path, variable):
    """Where downloads lie is asked at each load; a folder is made by a download alone."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(variable, str(tmp_path / "file" / "home"))
    assert tmp_path / "file" in downloads_folder().parents
    assert list(weight_files([downloads_folder()])) == []
    with pytest.raises(DownloadError, match="Nothing can be written to the folder '.*home"):
        download("llamagen-vq16")


def test_downloads_lie_where_the_hub_library_puts_assets(monkeypatch, tmp_path):
    monkeypatch.delenv("HF_ASSETS_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert downloads_folder() == cached_assets_path("randar", namespace="models", assets_dir=tmp_path / "assets")
