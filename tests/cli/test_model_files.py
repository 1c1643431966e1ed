"""`randar info`, `convert` and `download`."""

from tiny_cli import run

from randar_core.cli import model_files as command
from randar_core.runtime import progress_lines as progress


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


def test_a_download_tells_a_log_how_far_it_is(tmp_path, monkeypatch, capsys):
    def download(name, folder, on_bytes):
        for megabytes in (3, 6):
            on_bytes(megabytes * 10**6, 6 * 10**6)
        return folder / name

    monkeypatch.setattr(command, "download", download)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    assert run("download", "randar-l-llamagen", "--alone", "--folder", tmp_path) == 0
    told = capsys.readouterr()
    assert "randar-l-llamagen: 3 of 6 MB" in told.err and "6 of 6 MB" in told.err
    assert told.out.strip() == str(tmp_path / "randar-l-llamagen")


def test_a_bundle_is_replaced_by_force_alone(bundle, tmp_path):
    out = tmp_path / "model.safetensors"
    out.write_text("another program's")
    assert run("convert", bundle, out) == 2 and out.read_text() == "another program's"
    assert run("convert", bundle, out, "--force") == 0 and out.stat().st_size > 1000
