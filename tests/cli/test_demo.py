"""`randar demo`."""

import pytest
from tiny_cli import pixels, run


@pytest.mark.parametrize("model", ["bundle", "one_class"])
def test_demo_draws_one_sheet_a_task(model, request, tmp_path):
    assert run("demo", "--model", request.getfixturevalue(model), "--out", tmp_path) == 0
    names = {path.stem for path in tmp_path.glob("*.png")}
    assert names >= {"classes", "filling_in", "inpaint", "class_edit", "outpaint", "panorama", "refine", "extrapolate"}


def test_the_demo_shows_every_step_of_a_picture_that_fills_in(bundle, tmp_path):
    assert run("demo", "--model", bundle, "--out", tmp_path, "--steps", 16) == 0
    sheet, gap, side, columns, steps = pixels(tmp_path / "filling_in.png"), 4, 8, 4, 16
    assert sheet.shape == (gap + 4 * (side + gap), gap + columns * (side + gap), 3)
    for step in range(steps):
        top, left = (gap + place * (side + gap) for place in divmod(step, columns))
        still_grey = (sheet[top : top + side, left : left + side] == round(0.9 * 255)).all(2)
        assert still_grey.sum() == side**2 * (steps - 1 - step) / steps
