"""Random graphs in a real ComfyUI: `make fuzz COMFYUI_DIR=… N=500 SEED=0`.

Every graph ends in a node of this pack. Its inputs are random nodes of ours and of the core, widget values in the
middle, at and past their ends, latents of other models, pictures and masks of any shape and kind. A graph fails

- on an error of ours that isn't in words: of another type than our errors are, or raised outside this pack,
- on a result that isn't finite or in range (`fuzz_nodes.CheckResult`),
- where an interrupt doesn't end it, where the server dies, and where its memory keeps growing.

Each failure is a JSON file with its seed and its graph; `--replay FILE` runs it again.
"""

from __future__ import annotations

import argparse
import collections
import importlib.util
import json
import random
import re
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
ERRORS = ("ValueError", "MemoryError", "FileNotFoundError", "CheckpointError", "DownloadError")
SECONDS_OF_A_GRAPH = 30  # after which it is interrupted
SECONDS_OF_AN_INTERRUPT = 30
GRAPHS_BETWEEN_MEASUREMENTS = 50
GROWTH = 512 * 2**20  # of the server's memory, from the second measurement on
KINDS = ("uniform",) * 16 + ("zeros", "ones", "faint", "soft", "half", "signed") * 2 + ("nan", "inf", "huge")
DTYPES = ("float16", "bfloat16", "float64", "uint8", "bool")
NAMES = ("circle", "square", "star", "0", "2", "3", "-1", "circel", "207", "fish", "Käse", "", "star, circle", "\n,")
DRAWING = (
    "Sampler",
    "Inpaint",
    "Outpaint",
    "Canvas",
    "Extrapolate",
    "Refine",
    "Confidence",
    "HeatMap",
    "FeatureMap",
    "FeatureMatch",
)


def load(name: str, path: Path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class Graph:
    """A random graph in ComfyUI's API form. `info` is the server's `/object_info`."""

    info: dict
    seed: int
    prompt: dict = field(default_factory=dict)

    def __post_init__(self):
        self.random = random.Random(self.seed)
        kind = self.random.choice(DRAWING)
        drawn = self.node(f"RandAR{kind}", depth=0)
        outputs = self.info[f"RandAR{kind}"]["output"]
        check = {
            {"IMAGE": "image", "MASK": "mask", "LATENT": "latent"}[output]: [drawn, i]
            for i, output in enumerate(outputs)
        }
        self.add("CheckResult", check)
        if "LATENT" in outputs and self.random.random() < 0.5:
            decode = {"samples": [drawn, outputs.index("LATENT")], "vae": self.link("VAE", 1)}
            self.add("CheckResult", {"image": [self.add("VAEDecode", decode), 0]})

    def add(self, kind: str, inputs: dict) -> str:
        name = str(len(self.prompt) + 1)
        self.prompt[name] = {"class_type": kind, "inputs": inputs}
        return name

    def node(self, kind: str, depth: int, **fixed) -> str:
        """Add a node with random inputs; widgets of the `fixed` have these values."""
        inputs = dict(fixed)
        for group in ("required", "optional"):
            for name, (input_type, *options) in self.info[kind]["input"].get(group, {}).items():
                if name in inputs:
                    continue
                options = options[0] if options else {}
                is_socket = isinstance(input_type, str) and input_type not in (
                    "INT",
                    "FLOAT",
                    "STRING",
                    "BOOLEAN",
                    "COMBO",
                )
                if group == "optional" and is_socket and self.random.random() < 0.6:
                    continue
                inputs[name] = self.link(input_type, depth + 1) if is_socket else self.widget(name, input_type, options)
        return self.add(kind, inputs)

    def widget(self, name: str, input_type, options: dict):
        if isinstance(input_type, list) or input_type == "COMBO":
            choices = input_type if isinstance(input_type, list) else options["options"]
            return self.random.choice([*self.random.sample(choices, min(3, len(choices))), choices[0]])
        if name == "class_list":
            return ", ".join(self.random.choice(NAMES) for _ in range(self.random.choice((1, 1, 2, 3))))
        if input_type == "STRING":
            return self.random.choice(("", "x", "star"))
        if input_type == "BOOLEAN":
            return self.random.random() < 0.5
        low, high, default = options.get("min", 0), options.get("max", 100), options.get("default", 1)
        chance = self.random.random()
        if name in ("width", "height"):
            low, high = max(low, 1), 200
        if name in ("batch_size", "count", "rounds", "batch", "amount") and input_type == "INT":
            high = min(high, 4)
        if name in ("left", "top", "right", "bottom", "grow_mask_by", "seam", "x", "y"):
            high = min(high, 60)
        if name == "steps":
            high = 40
        if chance < 0.45:
            return default if not isinstance(default, (int, float)) else min(default, high)
        if chance < 0.55:
            return low
        if chance < 0.63:
            return high
        if chance < 0.635:
            return self.random.choice((low - 1, options.get("max", 100) + 1, 1e30, float("nan"), "x", None))
        if input_type == "INT":
            return self.random.randint(int(low), int(min(high, 2**62)))
        return round(self.random.uniform(low, high), 3)

    def link(self, output_type: str, depth: int) -> list:
        """A link to a new or an old node that puts out `output_type`."""
        if output_type.startswith("COMFY_MULTITYPED") or "," in output_type:
            output_type = self.random.choice(("MASK", "IMAGE"))
        old = [
            [name, i]
            for name, node in self.prompt.items()
            for i, output in enumerate(self.info[node["class_type"]]["output"])
            if output == output_type
        ]
        if old and self.random.random() < (0.9 if output_type in ("VAE", "RANDAR_MODEL") else 0.4):
            return self.random.choice(old)
        return getattr(self, f"make_{output_type.lower()}")(depth)

    def of(self, depth: int, output: str, leaves: list, others: list) -> list:
        """A link to the `output` of a new node, one of `leaves` or, while the graph isn't deep, one of `others`."""
        kind = self.random.choice(leaves * 2 + others if depth < 4 else leaves)
        return kind() if callable(kind) else [self.node(kind, depth), self.info[kind]["output"].index(output)]

    def make_randar_model(self, depth: int) -> list:
        families = ("tiny", "tiny", "tiny-rar", "tiny-lpd", "tiny-arpg")
        names = [f"{name}.safetensors" for name in families] * 4 + ["built-in", "broken.safetensors"]
        name = self.random.choice(names)
        dtype = self.random.choice(("default", "default", "fp32", "bf16", "fp16", "int8"))
        return [self.node("RandARLoadModel", depth, model_name=name, weight_dtype=dtype, tokenizer="auto"), 0]

    def make_vae(self, depth: int) -> list:
        return [self.make_randar_model(depth)[0], 1]

    def make_randar_class(self, depth: int) -> list:
        plain = [lambda: [self.node("RandARClassList", depth, class_list=self.random.choice(NAMES[:3])), 0]] * 3
        mixed = ["RandARClassBlend", "RandARClassRegion", "RandARClassSweep"]
        return self.of(depth, "RANDAR_CLASS", plain, ["RandARClassList", "RandARClass", *mixed])

    def make_randar_order(self, depth: int) -> list:
        return self.of(depth, "RANDAR_ORDER", ["RandAROrder", "RandARPaintedOrder"], [])

    def make_randar_guidance(self, depth: int) -> list:
        return self.of(depth, "RANDAR_GUIDANCE", ["RandARGuidance"], [])

    def odd(self, kind: str, channels: tuple) -> list:
        """A tensor of a random shape and of random values."""
        sides = (16, 16, 16, 24, 40, 53, 1, 3) if kind != "OddLatent" else (4, 4, 4, 8, 3, 1, 16)
        side = self.random.choice(sides)
        shape = {
            "batch": self.random.choice((1,) * 10 + (2, 2, 2, 3, 0)),
            "height": side if self.random.random() < 0.6 else self.random.choice(sides),
            "width": side if self.random.random() < 0.97 else 0,
            "channels": self.random.choice(channels),
        }
        values = self.random.choice(KINDS if self.random.random() < 0.95 else DTYPES)
        return [self.add(kind, shape | {"seed": self.random.randrange(10**6), "kind": values}), 0]

    def make_image(self, depth: int) -> list:
        odd = [lambda: self.odd("OddImage", (3, 3, 3, 4, 1, 2))] * 3
        return self.of(
            depth,
            "IMAGE",
            odd + ["EmptyImage"],
            ["VAEDecode", "ImageInvert", "RandARHeatMap", "RandAROutpaint", "RandARInpaint"],
        )

    def make_mask(self, depth: int) -> list:
        odd = [lambda: self.odd("OddMask", (1, 1, 1, 0, 2))] * 3
        return self.of(
            depth, "MASK", odd + ["SolidMask"], ["InvertMask", "ThresholdMask", "RandARConfidence", "RandARSampler"]
        )

    def make_latent(self, depth: int) -> list:
        odd = [lambda: self.odd("OddLatent", (4, 4, 4, 4, 8, 16))] * 2
        edits = ["SetLatentNoiseMask", "LatentFromBatch", "RepeatLatentBatch", "LatentFlip", "LatentRotate"]
        drawn = ["RandARSampler", "RandARCanvas", "RandARRefine", "RandARExtrapolate"]
        return self.of(depth, "LATENT", odd + ["EmptyLatentImage"], ["VAEEncode", "VAEEncode", *edits, *drawn])


@dataclass
class Fuzz:
    """Graphs against one server; failures go into the folder `out`."""

    server: object
    out: Path
    counts: collections.Counter = field(default_factory=collections.Counter)
    failures: int = 0
    memory: list = field(default_factory=list)

    def run(self, seed: int, prompt: dict) -> None:
        began = time.monotonic()
        stopped: list[float] = []

        def interrupt():
            stopped.append(time.monotonic())
            self.server.post("/interrupt", {})

        timer = threading.Timer(SECONDS_OF_A_GRAPH, interrupt)
        timer.start()
        try:
            result = self.server.run(prompt, timeout=SECONDS_OF_A_GRAPH + SECONDS_OF_AN_INTERRUPT)
        except Exception as error:
            if self.server.process.poll() is not None:
                self.fail(seed, prompt, f"The server died ({self.server.process.returncode}).")
                raise SystemExit(f"The server died at seed {seed}; see {self.out}.") from error
            self.fail(seed, prompt, f"No end {SECONDS_OF_AN_INTERRUPT} s after the interrupt: {error}")
            raise SystemExit(f"The graph of seed {seed} can't be interrupted; see {self.out}.") from error
        finally:
            timer.cancel()
        outcome = result.status
        if result.status == "error":
            outcome = self.judge(seed, prompt, result.error)
        elif result.status == "interrupted" and not stopped:
            outcome = self.fail(seed, prompt, "Interrupted, but nobody asked for it.")
        elif stopped:
            outcome = f"interrupted, {time.monotonic() - stopped[0]:.0f} s later the end" if result.error else "slow"
        self.counts[outcome] += 1
        if time.monotonic() - began > SECONDS_OF_A_GRAPH:
            print(f"seed {seed}: {time.monotonic() - began:.0f} s, {outcome}", flush=True)

    def judge(self, seed: int, prompt: dict, error: dict) -> str:
        """What an error is: ours and in words, the core's own, or a failure."""
        kind, text = error["exception_type"].rpartition(".")[2], "".join(error["traceback"])
        frames = re.findall(r'File "([^"]+)"', text)
        ours = any("custom_nodes/any-name/" in frame or str(ROOT) in frame for frame in frames)
        last = frames[-1] if frames else ""
        if error["node_type"] == "CheckResult":
            return self.fail(seed, prompt, f"A result is wrong: {error['exception_message']}")
        if not ours:
            return f"error of ComfyUI's {error['node_type']}"
        in_words = kind in ERRORS and ("any-name" in last or str(ROOT) in last) and len(error["exception_message"]) > 30
        if not in_words:
            return self.fail(seed, prompt, f"Not in words, from {error['node_type']}: {kind}: {text[-1500:]}")
        return "error in words"

    def fail(self, seed: int, prompt: dict, why: str) -> str:
        self.failures += 1
        self.out.mkdir(parents=True, exist_ok=True)
        path = self.out / f"{seed}.json"
        path.write_text(json.dumps({"seed": seed, "why": why, "prompt": prompt}, indent=1), encoding="utf-8")
        print(f"seed {seed} FAILED, see {path}: {why.strip().splitlines()[-1][:200]}", flush=True)
        return "FAILED"

    def measure(self) -> None:
        """Take the server's memory once models and results are released; fail where it keeps growing."""
        self.server.post("/free", {"unload_models": True, "free_memory": True})
        self.server.post("/history", {"clear": True})  # of the last 10,000 graphs, with inputs and errors
        time.sleep(3)
        self.memory.append(self.server.memory())
        print(f"{sum(self.counts.values())} graphs, {self.memory[-1] / 2**20:.0f} MiB: {dict(self.counts)}", flush=True)
        if len(self.memory) > 2 and min(self.memory[-2:]) > self.memory[1] + GROWTH:
            raise SystemExit(f"The server's memory grows: {[size // 2**20 for size in self.memory]} MiB.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, required=True, help="folder of a ComfyUI")
    parser.add_argument("--python", default=sys.executable, help="the Python that runs it")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the first graph; the next ones count up")
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"), help="folder of the failures")
    parser.add_argument("--replay", type=Path, help="run the graph of one failure again")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server ends too

    servers, models = load("comfyui_server", HERE.parent / "comfyui/server.py"), load("fuzz_models", HERE / "models.py")
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        for name in ("custom_nodes/fuzz_nodes", "input", "models/randar"):
            (base / name).mkdir(parents=True)
        (base / "custom_nodes/any-name").symlink_to(ROOT)
        (base / "custom_nodes/fuzz_nodes/__init__.py").write_text((HERE / "fuzz_nodes.py").read_text(encoding="utf-8"))
        models.save(base / "models/randar")
        with servers.Server(arguments.comfyui.resolve(), arguments.python, base) as server:
            info, fuzz = server.get("/object_info"), Fuzz(server, arguments.out)
            if arguments.replay:
                case = json.loads(arguments.replay.read_text(encoding="utf-8"))
                fuzz.run(case["seed"], case["prompt"])
            else:
                for number in range(arguments.count):
                    graph = Graph(info, arguments.seed + number)
                    fuzz.run(graph.seed, graph.prompt)
                    if (number + 1) % GRAPHS_BETWEEN_MEASUREMENTS == 0:
                        fuzz.measure()
            print(f"{sum(fuzz.counts.values())} graphs, {fuzz.failures} failures: {dict(fuzz.counts)}")
    return int(fuzz.failures > 0)


if __name__ == "__main__":
    sys.exit(main())
