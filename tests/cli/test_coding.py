"""`randar encode` and `randar decode`."""

import json

import numpy as np
import pytest
from PIL import Image
from tiny_cli import run


def test_encode_and_decode_are_inverse_on_decoded_pictures(bundle, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (6, 10, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    assert run("encode", tmp_path / "a.png", "--model", bundle) == 0
    found = json.loads((tmp_path / "a.json").read_text())
    assert np.array(found["ids"]).shape == (3, 5)
    assert run("decode", tmp_path / "a.json", "--model", bundle, "--out", tmp_path / "b.png") == 0
    assert Image.open(tmp_path / "b.png").size == (10, 6)


def test_ids_of_another_codebook_are_refused(bundle, tmp_path, capsys):
    (tmp_path / "ids.json").write_text(json.dumps({"codebook_size": 99, "ids": [[1, 2], [3, 4]]}))
    assert run("decode", tmp_path / "ids.json", "--model", bundle) == 2
    assert "a codebook of 99" in capsys.readouterr().err


def test_decoding_does_not_write_over_the_picture_that_was_encoded(bundle, tmp_path, capsys):
    Image.effect_noise((8, 8), 80).convert("RGB").save(tmp_path / "cat.png")
    before = (tmp_path / "cat.png").read_bytes()
    assert run("encode", tmp_path / "cat.png", "--model", bundle) == 0
    assert run("decode", tmp_path / "cat.json", "--model", bundle) == 2
    assert "cat.png' exists already. Name another file with --out, or add --force" in capsys.readouterr().err
    assert (tmp_path / "cat.png").read_bytes() == before
    assert run("encode", tmp_path / "cat.png", "--model", bundle) == 2
    assert run("decode", tmp_path / "cat.json", "--model", bundle, "--force") == 0
    assert (tmp_path / "cat.png").read_bytes() != before


def test_ids_are_not_written_into_a_picture(bundle, tmp_path, capsys):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert run("encode", tmp_path / "a.png", "--out", tmp_path / "b.png", "--model", bundle, "--force") == 2
    assert "'b.png' doesn't end in .json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"codebook_size": 16, "ids": [[true, false]]}', "an id is True"),
        ('{"codebook_size": 16, "ids": [[1, 2], [3]]}', "rows of ids are of different lengths"),
        ('{"codebook_size": 16, "ids": []}', "are empty"),
        ('{"codebook_size": 16, "ids": [[]]}', "are empty"),
        ('{"codebook_size": 16, "ids": [[1.5]]}', "an id is 1.5"),
        ('{"codebook_size": 16, "ids": [[1e400]]}', "an id is inf"),
        ('{"codebook_size": 16, "ids": [[99999999999999999999999]]}', "an id is 99999999999999999999999"),
        ('{"codebook_size": 16, "ids": [[-1]]}', "an id is -1"),
        ('{"codebook_size": 16, "ids": "none"}', "aren't rows"),
        ('{"codebook_size": 16}', "'ids' is missing"),
        ("[1, 2]", "isn't a file of `randar encode`"),
        ("[" * 100_000, "isn't a file of `randar encode`"),
        ('{"codebook_size": 16, "ids": [[99]]}', "99"),
        ('{"codebook_size": true, "ids": [[1]]}', "codebook of True"),
    ],
)
def test_ids_that_are_none_are_refused_in_words(bundle, tmp_path, capsys, text, said):
    (tmp_path / "ids.json").write_text(text)
    assert run("decode", tmp_path / "ids.json", "--model", bundle) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "ids.png").exists()
