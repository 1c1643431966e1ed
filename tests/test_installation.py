"""An installation brings the library and nothing else."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run_elsewhere(code: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_repository_is_not_on_the_path(tmp_path):
    code = "import sys, pathlib; print([p for p in sys.path if p and pathlib.Path(p).resolve() == pathlib.Path(%r)])"
    assert run_elsewhere(code % str(ROOT), tmp_path) == "[]"


def test_our_nodes_cannot_hide_those_of_comfyui(tmp_path):
    assert run_elsewhere("import importlib.util; print(importlib.util.find_spec('nodes'))", tmp_path) == "None"


def test_the_library_is_found_from_any_folder(tmp_path):
    found = run_elsewhere("import randar_core; print(randar_core.__file__)", tmp_path)
    assert Path(found).parent.name == "randar_core"


def test_installing_asks_for_no_torch(tmp_path):
    code = (
        "import importlib.metadata as m; "
        "print([r for r in m.requires('randar') if r.startswith('torch') and 'extra ==' not in r])"
    )
    assert run_elsewhere(code, tmp_path) == "[]"
