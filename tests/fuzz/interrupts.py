"""Interrupts at random times in a real ComfyUI: `make fuzz-interrupts COMFYUI_DIR=… N=200 SEED=0`.

A run of the built-in model is interrupted after a random time, while it loads, draws or decodes. It must end soon, the
next prompt must draw what it drew before, and the server's memory must come back.
"""

from __future__ import annotations

import argparse
import collections
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))

from graphs import load  # noqa: E402

SECONDS_TO_END = 10
RUNS_BETWEEN_CHECKS = 10
GROWTH = 256 * 2**20  # of the server's memory, from the first check on


def node(class_type: str, **inputs) -> dict:
    return {"class_type": class_type, "inputs": inputs}


def prompt(seed: int, name: str, steps: int, batch_size: int) -> dict:
    settings = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "cfg": 2.0, "denoise": 1.0}
    return {
        "1": node("RandARLoadModel", model_name=name, tokenizer="auto", weight_dtype="fp32"),
        "2": node("RandARClassList", class_list="0"),
        "3": node(
            "RandARSampler", model=["1", 0], classes=["2", 0], seed=seed, steps=steps, batch_size=batch_size, **settings
        ),
        "4": node("VAEDecode", samples=["3", 0], vae=["1", 1]),
        "5": node("PreviewImage", images=["4", 0]),
    }


def picture(server, seed: int) -> bytes:
    """What the built-in model draws from `seed`; SystemExit where it doesn't."""
    run = server.run(prompt(seed, "built-in", 4, 1))
    if run.status != "success":
        raise SystemExit(f"The prompt after an interrupt ended with {run.status}: {run.message}")
    return server.view(run.outputs["5"]["images"][0])


def interrupted(server, number: int, seconds: float) -> tuple[str, float]:
    """How a long run ended that is interrupted after so many `seconds`, and how much later that was.

    They count from its start: ComfyUI forgets an interrupt that comes before.
    """
    sent: list[float] = []

    def interrupt() -> None:
        sent.append(time.monotonic())
        server.post("/interrupt", {})

    timer = threading.Timer(seconds, interrupt)

    def on_event(event: dict) -> None:
        if event["type"] == "execution_start":
            timer.start()

    # Another precision now and then, so that the weights are loaded anew too.
    graph = prompt(number + 1, "built-in", 64, 8)
    graph["1"]["inputs"]["weight_dtype"] = ("fp32", "bf16")[number % 2]
    run = server.run(graph, on_event)
    timer.cancel()
    return run.status, time.monotonic() - sent[0] if sent else 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, required=True, help="folder of a ComfyUI")
    parser.add_argument("--python", default=sys.executable, help="the Python that runs it")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the times")
    parser.add_argument("--longest", type=float, default=3.0, help="seconds after which a run is interrupted at most")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server ends too
    random_times, ends, latest = random.Random(arguments.seed), collections.Counter(), 0.0
    servers = load("comfyui_server", HERE.parent / "comfyui/server.py")
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        for name in ("custom_nodes", "input", "models/randar"):
            (base / name).mkdir(parents=True)
        (base / "custom_nodes/any-name").symlink_to(ROOT)
        with servers.Server(arguments.comfyui.resolve(), arguments.python, base) as server:
            expected, memory = picture(server, 0), []
            for number in range(arguments.count):
                status, seconds = interrupted(server, number, random_times.uniform(0, arguments.longest))
                ends[status] += 1
                latest = max(latest, seconds)
                if status not in ("interrupted", "success") or seconds > SECONDS_TO_END:
                    raise SystemExit(f"Interrupt {number}: {status}, {seconds:.1f} s after it was sent.")
                if (number + 1) % RUNS_BETWEEN_CHECKS == 0:
                    if picture(server, 0) != expected:
                        raise SystemExit(f"After interrupt {number} the model draws another picture.")
                    server.post("/free", {"unload_models": True, "free_memory": True})
                    time.sleep(3)
                    memory.append(server.memory())
                    print(f"{number + 1} interrupts, {memory[-1] / 2**20:.0f} MiB: {dict(ends)}", flush=True)
                    if memory[-1] > memory[0] + GROWTH:
                        raise SystemExit(f"The server's memory grows: {[size // 2**20 for size in memory]} MiB.")
            print(
                f"{arguments.count} interrupts: {dict(ends)}; the latest end came {latest:.1f} s after its interrupt."
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
