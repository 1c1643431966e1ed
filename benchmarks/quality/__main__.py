"""`python benchmarks/quality`, see run.py."""

import sys
from pathlib import Path

# Python puts this folder on the path, not its parent, from which the modules of the package import each other.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from quality.run import main  # noqa: E402

main()
