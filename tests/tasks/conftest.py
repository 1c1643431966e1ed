"""The models of the tests of tasks."""

import pytest
from tiny_tasks import CLASSES, CODES, GRID, randomised

from randar_core.models.llamagen import LlamaGenConfig, LlamaGenTokenizer
from randar_core.models.randar import RandAR, RandARConfig


@pytest.fixture(scope="module")
def model():
    return randomised(RandAR(RandARConfig(16, 2, 2, CODES, CLASSES, GRID)), 0.3)


@pytest.fixture(scope="module")
def tokenizer():
    config = LlamaGenConfig(
        channels=8,
        multipliers=(1, 2),
        res_blocks=1,
        codebook_size=CODES,
        codebook_dim=4,
        z_channels=8,
        norm_groups=4,
    )
    return randomised(LlamaGenTokenizer(config), 0.3)
