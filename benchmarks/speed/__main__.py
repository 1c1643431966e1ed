"""Speed and memory: `python benchmarks/speed COMMAND`, and `python benchmarks/speed COMMAND --help`.

decode           a whole decode, next to what the machine allows and to other implementations
tokenizer        encoding and decoding pictures
linear_layers    the products of a call by the form of their weights
launches         tensor operations and bytes of a call by layer and operator
memory           the peak of a decode next to what the nodes ask for
comfyui_layers   what ComfyUI's layers cost; in ComfyUI's own Python
"""

import importlib
import sys
from pathlib import Path

# Python puts this folder on the path, not its parent, from which the modules of the package import each other.
sys.path[0] = str(Path(__file__).resolve().parents[1])

COMMANDS = ("decode", "tokenizer", "linear_layers", "launches", "memory", "comfyui_layers", "machine")

if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
    sys.exit(__doc__)
if sys.argv[1] == "comfyui_layers":  # ComfyUI's Python doesn't have this repository installed
    sys.path.insert(1, str(Path(__file__).resolve().parents[2]))

from randar_core.runtime.huge_pages import ask_for_huge_pages  # noqa: E402

ask_for_huge_pages()  # as the command line does, before torch is imported
importlib.import_module(f"speed.{sys.argv[1]}").main(sys.argv[2:])
