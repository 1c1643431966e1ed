"""The model of the tests of windows and waits."""

import pytest
from tiny_tasks import CLASSES, CODES, GRID, randomised

from randar_core.models.randar import RandAR, RandARConfig


@pytest.fixture(scope="module")
def model():
    return randomised(RandAR(RandARConfig(16, 2, 2, CODES, CLASSES, GRID)), 0.3)
