"""The scripts of the tests that were collected here, see `own_process`."""

from pathlib import Path

import own_process


def pytest_collection_finish(session):
    folder = Path(__file__).parent
    own_process.COLLECTED.update(str(item.path) for item in session.items if item.path.parent == folder)
