"""Tensor operations that a decode call launches, and the bytes that they move, by family, layer and operator.

    python benchmarks/speed launches                              # all families, bfloat16 and float32 on the CPU
    python benchmarks/speed launches --families randar --dtypes float32 --device cuda

On a GPU every operation is a kernel that the host has to launch. On small models the launches, not the arithmetic, are
what a call takes. Random weights of each family's first release, one picture with guidance, a call in the middle of a
decode. A layer is the difference between a model of eight layers and one of six, halved. A view (a slice, a transpose)
launches nothing and is counted apart. Bytes are those of an operation's inputs and outputs. `ms` is the time of the
host's thread in a call of a model of 24 layers, 64 channels wide, which is almost only the launches. Writes a table
(`--out`, Markdown) and the raw numbers next to it (JSON).
"""

import argparse
import dataclasses
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from random_models import random_model
from speed.machine import processor_name
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from randar_core.checkpoints.families import FAMILIES, family_of
from randar_core.checkpoints.releases import RELEASES, find_release
from randar_core.models.family import TokenModel

CASTS = ("_to_copy",)
COPIES = ("copy_", "clone", "cat", "index_put_")
GATHERS = ("embedding", "index", "index_select", "gather")
"""Operators that read only the rows of their first input that they return."""

SMALL = {"layers": 24, "width": 64, "heads": 4, "mlp_width": 256, "codebook_size": 512}
TOKENS = 4  # of a call, where a family draws several
REPEATS = 60
FEW, MORE = 4, 6  # layers of the models whose difference is counted


class Launches(TorchDispatchMode):
    """Counts operators: `operations` and their `bytes` by name, and `views`, which launch nothing."""

    def __init__(self):
        super().__init__()
        self.operations, self.bytes, self.views = Counter(), Counter(), Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        if function.is_view or name == "_unsafe_view":
            self.views[name] += 1
        elif not name.startswith(("empty", "new_empty")):  # an allocation launches nothing
            self.operations[name] += 1
            self.bytes[name] += moved_bytes(name, tensors_of((args, kwargs)), tensors_of(out))
        return out


def tensors_of(tree) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def moved_bytes(name: str, inputs: list[Tensor], outputs: list[Tensor]) -> int:
    """Bytes that an operation reads and writes, each tensor once; of an expanded tensor only what it stores."""
    if name in GATHERS:
        return 2 * sum(map(stored_bytes, outputs))
    tensors = {tensor.data_ptr(): tensor for tensor in [*inputs, *outputs]} if inputs else dict(enumerate(outputs))
    return sum(map(stored_bytes, tensors.values()))


def stored_bytes(tensor: Tensor) -> int:
    stored = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        stored *= size if stride else 1
    return stored * tensor.element_size()


def middle_call(model: TokenModel, device: torch.device) -> Callable[[], Tensor]:
    """A function that makes one call after the other, each with the same tokens, after half of a picture is known."""
    rows, cells = 2, model.config.grid**2
    count = TOKENS if model.traits.parallel else 1
    classes = torch.zeros(rows, dtype=torch.long, device=device)
    order = torch.arange(cells, device=device).expand(rows, -1)
    state = model.start(model.class_embedding(classes), order)
    model.step(state, torch.zeros(rows, cells // 2, dtype=torch.long, device=device), count)
    tokens = torch.zeros(rows, count, dtype=torch.long, device=device)
    return lambda: model.step(state, tokens, count)


def count_call(model: TokenModel, device: torch.device) -> Launches:
    call = middle_call(model, device)
    call()  # a family may compute something once for many calls
    with Launches() as launches:
        call()
    return launches


@torch.no_grad()  # not inference_mode, in which torch doesn't show what its composite operators are made of
def measure(release: str, family: str, dtype: torch.dtype, device: torch.device) -> dict:
    """Operations, views and bytes of a layer and around the layers, and milliseconds of a call of a small model."""
    few, more = (count_call(random_model(release, device, dtype, layers=n), device) for n in (FEW, MORE))

    def of_a_layer(smaller: Counter, larger: Counter) -> dict[str, float]:
        difference = {name: (larger[name] - smaller[name]) / (MORE - FEW) for name in larger}
        return {name: value for name, value in sorted(difference.items(), key=lambda item: -item[1]) if value}

    layer, layer_bytes = of_a_layer(few.operations, more.operations), of_a_layer(few.bytes, more.bytes)
    return {
        "family": family,
        "release": release,
        "dtype": str(dtype).removeprefix("torch."),
        "layer": layer,
        "layer_bytes": layer_bytes,
        "layer_views": sum(of_a_layer(few.views, more.views).values()),
        "around": sum(few.operations.values()) - FEW * sum(layer.values()),
        "around_bytes": sum(few.bytes.values()) - FEW * sum(layer_bytes.values()),
        "milliseconds": 1000 * small_call_seconds(release, dtype, device),
    }


def small_call_seconds(release: str, dtype: torch.dtype, device: torch.device) -> float:
    """The least time of the host's thread in a call of a small model: other programs don't count in it."""
    fields = {field.name for field in dataclasses.fields(find_release(release).config)}
    changes = {name: value for name, value in SMALL.items() if name in fields}
    with torch.inference_mode():
        model = random_model(release, device, dtype, **changes)
        times = []
        while len(times) < REPEATS:
            call = middle_call(model, device)
            for _ in range(model.config.grid**2 // (4 * TOKENS)):
                began = time.thread_time()
                call()
                times.append(time.thread_time() - began)
    return min(times)


def summary(results: Sequence[dict]) -> list[str]:
    lines = [
        "| family | dtype | operations a layer | casts | copies | views | MB a layer | around the layers | ms |",
        "|---" * 9 + "|",
    ]
    for result in results:
        layer = result["layer"]
        casts, copies = (sum(layer.get(name, 0) for name in names) for names in (CASTS, COPIES))
        lines.append(
            f"| {result['family']} | {result['dtype']} | {sum(layer.values()):g} | {casts:g} | {copies:g} "
            f"| {result['layer_views']:g} | {sum(result['layer_bytes'].values()) / 1e6:.1f} | {result['around']:g} "
            f"| {result['milliseconds']:.2f} |"
        )
    return lines


def by_operator(results: Sequence[dict]) -> list[str]:
    names = dict.fromkeys(name for result in results for name in result["layer"])
    heads = [f"{result['family']}, {result['dtype']}" for result in results]
    lines = ["| operator | " + " | ".join(heads) + " |", "|---" * (1 + len(results)) + "|"]
    for name in names:
        cells = []
        for result in results:
            count = result["layer"].get(name)
            cells.append(f"{count:g} ({result['layer_bytes'].get(name, 0) / 1e3:.0f} kB)" if count else "")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def first_releases() -> dict[str, str]:
    """The first release of every family of transformers, by the name of the family."""
    families = [family.name for family in FAMILIES if family.role == "transformer"]
    return {name: next(r.name for r in RELEASES if family_of(r.config).name == name) for name in families}


def main(argv: Sequence[str]) -> None:
    releases = first_releases()
    parser = argparse.ArgumentParser(
        prog="python benchmarks/speed launches",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--families", nargs="+", choices=releases, default=list(releases))
    parser.add_argument(
        "--dtypes", nargs="+", choices=("bfloat16", "float16", "float32"), default=["bfloat16", "float32"]
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, … (default: cpu)")
    parser.add_argument("--threads", type=int, default=1, help="threads of the CPU (default: 1)")
    parser.add_argument("--out", type=Path, default=Path("out/launches.md"))
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    results = []
    for family in arguments.families:
        for dtype in arguments.dtypes:
            results.append(measure(releases[family], family, getattr(torch, dtype), device))
            print(summary(results)[-1], flush=True)
    machine = f"{processor_name(device)}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    write(arguments.out, results, machine)


WORDS = (
    "Tensor operations of one call, by layer and operator, with the bytes of their inputs and outputs: one picture "
    "with guidance, half of the cells known, {tokens} tokens a call where the family draws several. Views launch "
    "nothing. ms: a call of a model of 24 layers, 64 channels wide, in time of the host's thread, the least of "
    "{repeats}. Written by `python benchmarks/speed launches`."
)


def write(path: Path, results: Sequence[dict], machine: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    words = f"{machine}. {WORDS.format(tokens=TOKENS, repeats=REPEATS)}"
    lines = ["# Operations of a call", "", words, "", *summary(results), "", *by_operator(results)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    path.with_suffix(".json").write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")
