"""Hostile and broken files of weights through every door: nothing of them runs, and each is refused in words.

A file may be accepted where nothing is wrong with what is taken of it; its weights are finite then.
"""

import os
import sys
import warnings
from pathlib import Path

import pytest
import tiny
import torch
from hostile_files import KINDS, Model
from tiny_cli import run

from randar_core.checkpoints.bundle import save_bundle
from randar_core.checkpoints.model import open_model
from randar_core.checkpoints.pickle_names import NAMES, Ignored, Items

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="some kinds are links and pipes")

DANGEROUS = {"os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "socket.connect", "shutil.rmtree"}
heard: list[str] = []
watching = [False]


def listen(event: str, arguments: tuple) -> None:
    if watching[0] and event in DANGEROUS:
        heard.append(event)


sys.addaudithook(listen)


@pytest.fixture(scope="module")
def victim() -> Model:
    return Model(tiny.randar())


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "codes.safetensors"
    save_bundle(path, tokenizer=tiny.tokenizer())
    return path


@pytest.fixture(autouse=True)
def nothing_runs(tmp_path, monkeypatch):
    """The canary of the file, and the dangerous events that Python reports."""
    monkeypatch.chdir(tmp_path)
    before = [getattr(value, "call", value) for value in NAMES.values()]
    heard.clear()
    watching[0] = True
    yield
    watching[0] = False
    assert heard == []
    assert before == [getattr(value, "call", value) for value in NAMES.values()]
    assert all(vars(kind).get("__setstate__") for kind in (Items, Ignored))
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("name", KINDS)
def test_a_hostile_file_runs_nothing_and_is_refused_in_words(name, victim, tokenizer, tmp_path, capsys):
    path = KINDS[name](tmp_path, victim)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        accepted = loads(path, tokenizer)
    statuses = run("info", path), run("convert", path, tmp_path / "out.safetensors", "--tokenizer", tokenizer)
    said = capsys.readouterr().err
    assert "weights_only" not in said and "Traceback" not in said
    assert statuses[1] == (0 if accepted else 2)
    assert statuses[0] in (0, 2)
    if not accepted:
        assert said.startswith("randar: ") and len(said) < 3000
        assert not (tmp_path / "out.safetensors").exists()
    if name.startswith("a_good_file"):
        assert accepted


def loads(path: Path, tokenizer: Path) -> bool:
    """Whether the file is accepted as a model. Anything else than an error for the user fails the test."""
    try:
        model = open_model(path, tokenizer).build()
    except (ValueError, OSError) as error:
        assert str(error) and "weights_only" not in str(error)
        return False
    assert all(torch.isfinite(value).all() for value in model.transformer.state_dict().values())
    return True


@pytest.mark.parametrize("name", {name.partition(":")[0]: name for name in KINDS}.values())  # one of each kind
def test_load_model_refuses_a_hostile_file_in_words(name, victim, tokenizer, tmp_path, pack):
    """In ComfyUI's node: the file is in the folder of the models, next to those of others."""
    path = KINDS[name](tmp_path, victim)
    placed = [pack.models / file.name for file in tmp_path.iterdir()]
    codes = pack.models / tokenizer.name
    codes.write_bytes(tokenizer.read_bytes())
    try:
        for target in placed:
            os.rename(tmp_path / target.name, target)
        node = pack.nodes["RandARLoadModel"]
        node.fingerprint_inputs(path.name)
        try:
            node.execute(model_name=path.name, tokenizer=codes.name)
        except (ValueError, OSError) as error:
            assert str(error) and "weights_only" not in str(error)
    finally:
        for target in (*placed, codes):
            if target.is_dir() and not target.is_symlink():
                for inner in target.iterdir():
                    inner.unlink()
                target.rmdir()
            else:
                target.unlink(missing_ok=True)


def test_there_are_kinds_enough():
    assert len({name.partition(":")[0] for name in KINDS}) >= 45 and len(KINDS) >= 150
