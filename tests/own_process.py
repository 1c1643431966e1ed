"""Cases that run in a process of their own: a test file, run as a script, prints what they found, as JSON.

torch keeps a feigned GPU for the life of a process. The script calls `print_found`, each test reads its part by
`found_of`. The scripts of all tests that were collected run side by side, as many as there are cores. A worker of
pytest-xdist runs only those of its own tests: it collects all, and the others have workers of their own.
"""

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
COLLECTED: set[str] = set()  # the scripts whose tests run in this session


def outcome(function: Callable, *arguments) -> dict:
    """What `function` gives, or the error that it raises."""
    try:
        return {"value": function(*arguments)}
    except Exception:
        return {"error": traceback.format_exc()}


def print_found(found: dict[str, dict]) -> None:
    """Hand the outcomes of all cases, by their names, to the tests."""
    print(json.dumps(found))


def run_script(script: str) -> dict[str, dict]:
    paths = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    process = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


@cache
def pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1)


@cache
def running(script: str) -> Future:
    return pool().submit(run_script, script)


def found_of(name: str, script: str):
    """What the case `name` of a `script` found. Its error is this test's failure."""
    scripts = {script} if "PYTEST_XDIST_WORKER" in os.environ else COLLECTED
    for each in sorted(scripts):
        running(each)
    found = running(script).result()[name]
    if "error" in found:
        pytest.fail(found["error"], pytrace=False)
    return found["value"]
