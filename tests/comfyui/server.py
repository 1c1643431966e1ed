"""A real ComfyUI server, driven as its own page drives it: HTTP and one WebSocket."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import websocket

START_SECONDS = 600  # a busy machine takes minutes to import ComfyUI


@dataclass
class Run:
    """How a prompt went: `status` is success, error, interrupted or refused."""

    status: str = ""
    error: dict = field(default_factory=dict)
    events: list[dict] = field(default_factory=list)
    previews: list[bytes] = field(default_factory=list)
    outputs: dict = field(default_factory=dict)

    def of(self, kind: str) -> list[dict]:
        return [event["data"] for event in self.events if event["type"] == kind]

    @property
    def cached(self) -> set[str]:
        return {node for data in self.of("execution_cached") for node in data["nodes"]}

    @property
    def message(self) -> str:
        return self.error.get("exception_message", "") or json.dumps(self.error)


class Server:
    """`with Server(comfyui, python, base) as server:` starts it on a free loopback port, with folders of its own."""

    def __init__(self, comfyui: Path, python: str, base: Path, *arguments: str):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.comfyui, self.base, self.log = comfyui, base, base / "server.log"
        self.command = [python, "main.py", "--cpu", "--listen", "127.0.0.1", "--port", str(self.port)]
        self.command += ["--disable-auto-launch", "--base-directory", str(base), *arguments]
        self.client = str(uuid.uuid4())

    def __enter__(self) -> Server:
        with self.log.open("w") as log:
            environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
            self.process = subprocess.Popen(
                self.command, cwd=self.comfyui, stdout=log, stderr=subprocess.STDOUT, env=environment
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.get("/system_stats")
                return self
            except OSError:
                time.sleep(0.5)
        self.process.kill()
        raise RuntimeError(f"ComfyUI did not start:\n{self.log.read_text()[-3000:]}")

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def get(self, path: str, raw: bool = False):
        with urllib.request.urlopen(self.url(path), timeout=60) as answer:
            data = answer.read()
        return data if raw else json.loads(data)

    def post(self, path: str, body: dict) -> dict:
        request = urllib.request.Request(
            self.url(path), json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            return json.loads(error.read() or b"{}")

    def view(self, image: dict) -> bytes:
        return self.get("/view?" + urllib.parse.urlencode(image), raw=True)

    def run(self, prompt: dict, on_event=None, timeout: float = 900, **extra_data) -> Run:
        """Queue an API graph and wait for its end; `on_event` sees each event as it comes."""
        listener = websocket.create_connection(f"ws://127.0.0.1:{self.port}/ws?clientId={self.client}", timeout=timeout)
        run = Run()
        try:
            body = {"prompt": prompt, "client_id": self.client, "extra_data": extra_data}
            answer = self.post("/prompt", body)
            if "prompt_id" not in answer:
                return Run("refused", answer)
            while not run.status:
                message = listener.recv()
                if isinstance(message, bytes):
                    if struct.unpack(">I", message[:4])[0] == 1:
                        run.previews.append(message[8:])
                    continue
                event = json.loads(message)
                if event["data"].get("prompt_id", answer["prompt_id"]) != answer["prompt_id"]:
                    continue
                run.events.append(event)
                if on_event is not None:
                    on_event(event)
                if event["type"] in ("execution_success", "execution_error", "execution_interrupted"):
                    run.status = event["type"].removeprefix("execution_")
                    run.error = {} if run.status == "success" else event["data"]
        finally:
            listener.close()
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not run.outputs and run.status == "success":
            history = self.get(f"/history/{answer['prompt_id']}")
            run.outputs = history.get(answer["prompt_id"], {}).get("outputs", {})
        return run

    def memory(self) -> int:
        """Bytes of the server's memory that are resident."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024
