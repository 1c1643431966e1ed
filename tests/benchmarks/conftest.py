"""Puts the folder of the benchmarks, which are run as scripts, on the path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
