"""`randar info`, `convert` and `download`."""

from tiny_cli import run


def test_info_says_what_a_file_is(bundle, capsys):
    assert run("info", bundle) == 0
    said = capsys.readouterr().out
    assert "transformer: randar" in said and "tokenizer: llamagen" in said and "star, fish, house" in said
    assert "every key and shape is as expected" in said


def test_convert_writes_a_bundle_in_another_dtype(bundle, tmp_path, capsys):
    out = tmp_path / "half.safetensors"
    assert run("convert", bundle, out, "--dtype", "bfloat16") == 0
    run("info", out)
    assert "weights in torch.bfloat16" in capsys.readouterr().out
    assert run("convert", bundle, out) == 2
    assert "half.safetensors' exists already. Name another file, or add --force" in capsys.readouterr().err


def test_download_without_a_name_lists_the_releases(capsys):
    assert run("download") == 0
    assert "randar-xl-llamagen" in capsys.readouterr().out
