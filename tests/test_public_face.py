"""The public face: what `from randar_core import …` offers, and that importing it stays quick."""

import importlib
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import randar_core

README = Path(__file__).parent.parent / "README.md"


def test_every_name_of_the_face_is_there():
    for name, module in randar_core.FACE.items():
        assert getattr(randar_core, name) is getattr(importlib.import_module(f"randar_core.{module}"), name)
    assert set(randar_core.__all__) == {*randar_core.FACE, "__version__"}


def test_an_unknown_name_is_refused_as_python_does():
    with pytest.raises(AttributeError, match="has no attribute 'unheard_of'"):
        getattr(randar_core, "unheard" + "_of")


def test_importing_the_package_imports_no_torch():
    code = "import sys, randar_core; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize("place", ["docstring", "readme"])
def test_the_lines_in_the_docstring_and_in_the_readme_draw_a_picture(place, tmp_path, monkeypatch):
    inside = re.search(r"(?s)    (from randar_core import .*?\n)\n?The names", randar_core.__doc__).group(1)
    shown = re.search(r"(?s)```python\n(from randar_core import .*?)```", README.read_text(encoding="utf-8")).group(1)
    script, folder = tmp_path / "lines.py", tmp_path / "drawn"
    script.write_text({"docstring": inside.replace("\n    ", "\n"), "readme": shown}[place], encoding="utf-8")
    folder.mkdir()
    monkeypatch.chdir(folder)
    runpy.run_path(str(script))
    assert [path.suffix for path in folder.iterdir()] == [".png"]
