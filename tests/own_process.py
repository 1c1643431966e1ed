"""Cases that run in a process of their own: the function `work` of a test file gives what they found.

torch keeps a feigned GPU for the life of a process. Run as a script, the file prints it as JSON by `print_found`. Each
test reads its part by `found_of`. The scripts of all tests that were collected run side by side, as many as there are
cores. A worker of pytest-xdist runs only those of its own tests: it collects all, and the others have workers of their
own.
"""

import faulthandler
import gc
import importlib.util
import json
import multiprocessing
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
# How often Python looks for cycles. By its own thresholds that takes a twelfth of the time of these tests.
RARELY = (50_000, 20, 50)
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
    """What the cases of `script` found, in a process of their own, forked where that is possible."""
    if not can_fork():
        paths = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
        environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        process = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment)
        assert process.returncode == 0, process.stderr
        return json.loads(process.stdout.splitlines()[-1])
    context = process_context()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=work_of, args=(script, sender))
    process.start()
    sender.close()
    try:
        found = json.loads(receiver.recv())
    except EOFError:
        process.join()
        raise AssertionError(f"The process of {script} ended with {process.exitcode} and found nothing.") from None
    process.join()
    assert "error" not in found, found["error"]
    return found["value"]


def in_own_process(function: Callable, *arguments):
    """What `function`, of a module that lies directly in tests/, returns in a process of its own, within 300 s."""
    with ProcessPoolExecutor(1, process_context(), in_time) as process:
        return process.submit(function, *arguments).result()


def in_time() -> None:
    """A process that takes longer than 300 s from now ends with a traceback."""
    faulthandler.dump_traceback_later(300, exit=True)


@cache
def process_context():
    """Of processes that begin with torch where they can fork: to import it takes as long as many of the cases."""
    if not can_fork():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "torch.utils.backend_registration", "pytest"])
    return context


def can_fork() -> bool:
    return "forkserver" in multiprocessing.get_all_start_methods()  # not on Windows


def work_of(script: str, sender: Connection) -> None:
    def work() -> dict[str, dict]:
        gc.set_threshold(*RARELY)
        sys.path.insert(0, str(TESTS))
        spec = importlib.util.spec_from_file_location("own_process_script", script)
        module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.work()

    sender.send(json.dumps(outcome(work)))


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
