"""Sample sheets."""

import numpy as np
import pytest
from PIL import Image
from tiny_trainings import CPU, TOKENIZER

from randar_core.models.llamagen import LlamaGenTokenizer
from randar_core.procedural.render import Pictures
from randar_core.training.sheets import reconstruction_sheets


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (5, 5, 1), (13, 12, 1), (30, 12, 2)])
def test_a_reconstruction_is_below_its_picture(count, columns, rows, tmp_path):
    pictures = Pictures(0, count, size=16)
    reconstruction_sheets(LlamaGenTokenizer(TOKENIZER), pictures, tmp_path, CPU)(7)
    sheet = np.array(Image.open(tmp_path / "samples-000007.png"))
    assert sheet.shape == (4 + 20 * 2 * rows, 4 + 20 * columns, 3)
    for index in range(rows * columns):
        row, column = divmod(index, columns)
        top, left = 4 + 20 * 2 * row, 4 + 20 * column
        assert np.array_equal(sheet[top : top + 16, left : left + 16], pictures[index][0])
        assert not np.array_equal(sheet[top + 20 : top + 36, left : left + 16], pictures[index][0])
