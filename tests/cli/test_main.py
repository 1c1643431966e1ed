"""The command line as a whole: its table, its messages, its streams."""

import io
import os
import subprocess
import sys

import pytest
from PIL import Image
from tiny_cli import run

from randar_core.cli import COMMANDS


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("generate", "stra"), "Did you mean star"),
        (("generate", "3"), "There is no class 3: this model has the classes 0 to 2"),
        (("generate", "star", "--steps", "0"), "at least 1"),
        (("generate", "star", "--temperature", "0"), "temperature is 0"),
        (("generate", "star", "--count", "0"), "--count is 0"),
        (("generate", "star", "--width", "0"), "--width is 0 pixels; it must be at least 1"),
        (("generate", "star", "--guidance", "nan"), "both must be finite"),
        (("generate", "star", "--guidance-power", "-1"), "power of guidance is -1.0"),
        (("generate", "star", "--guidance", "1", "2", "3"), "one or two numbers"),
        (("generate", "star", "--device", "nonsense"), "The device 'nonsense'"),
        (("generate", "star", "--out", __file__), "Nothing can be written"),
        (("generate", "star", "--model", "gone.safetensors"), "There is no file 'gone.safetensors'"),
        (("generate", "star", "--model", "randar-x"), "Did you mean"),
        (("encode", "gone.png"), "There is no file 'gone.png'"),
        (("encode", __file__), "is not a picture"),
        (("decode", __file__), "isn't a file of `randar encode`"),
        (("decode", __file__, "--out", "a.jpg"), "'a.jpg' doesn't end in .png"),
    ],
)
def test_a_mistake_gets_one_clear_message(bundle, tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    given = [*words] if "--model" in words else [*words, "--model", bundle]
    assert run(*given) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("randar: ") and said in message


def test_output_in_a_code_page_that_lacks_a_letter_still_comes(bundle, monkeypatch, tmp_path):
    Image.new("RGB", (4, 6)).save(tmp_path / "a.png")
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="cp1251")
    monkeypatch.setattr(sys, "stdout", narrow)
    assert run("encode", tmp_path / "a.png", "--model", bundle) == 0
    narrow.flush()
    assert b"3 ? 2 ids" in narrow.buffer.getvalue()


ASKS = """
import os, sys
class Watch:
    def find_spec(self, name, *_):
        if name == "torch":
            print("torch finds", os.environ.get("THP_MEM_ALLOC_ENABLE"), flush=True)
            os._exit(0)  # importing torch takes seconds, and nothing more is asked
sys.meta_path.insert(0, Watch())
from randar_core.cli import main
main(["generate", "--help"])
"""


@pytest.mark.parametrize(("given", "found"), [(None, "1"), ("0", "0")])
def test_large_pages_are_asked_for_before_torch_is_imported(given, found):
    environment = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    environment |= {} if given is None else {"THP_MEM_ALLOC_ENABLE": given}
    done = subprocess.run([sys.executable, "-c", ASKS], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == f"torch finds {found}"


def test_no_command_shows_the_first_steps(capsys):
    with pytest.raises(SystemExit) as exit_:
        run()
    said = capsys.readouterr().err
    assert exit_.value.code == 2 and "randar generate castle lighthouse" in said and "train-tokenizer" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("genrate", "star"), "there is no command 'genrate'. Did you mean generate"),
        (("zzz",), "There are: generate, inpaint"),
    ],
)
def test_a_misspelt_command_gets_its_name(capsys, words, said):
    with pytest.raises(SystemExit) as exit_:
        run(*words)
    assert exit_.value.code == 2 and said in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_help(capsys, name):
    with pytest.raises(SystemExit) as exit_:
        run(name, "--help")
    assert exit_.value.code == 0 and f"usage: randar {name}" in capsys.readouterr().out


def test_help_and_version_come_without_torch():
    code = "import sys; from randar_core.cli import main\n"
    code += "try: main(['--help'])\nexcept SystemExit: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_a_run_without_stdout_and_stderr_draws_its_picture(bundle, tmp_path, monkeypatch):
    """As in a service, or under pythonw. The test below also imports everything without them."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert run("generate", "star", "--model", bundle, "--out", tmp_path) == 0
    assert (tmp_path / "00000_star.png").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="a shell's way to close a stream")
def test_a_run_whose_streams_are_closed_draws_its_picture(bundle, tmp_path):
    command = f'exec "{sys.executable}" -m randar_core generate star --model "{bundle}" --out "{tmp_path}" >&- 2>&-'
    assert subprocess.run(["sh", "-c", command]).returncode == 0
    assert (tmp_path / "00000_star.png").exists()


@pytest.mark.parametrize("seed", ["1e30", "99999999999999999999999", "x"])
def test_a_seed_that_generators_do_not_take_is_refused(bundle, capsys, seed):
    with pytest.raises(SystemExit):
        run("generate", "star", "--model", bundle, "--seed", seed)
    assert "--seed: it must be a whole number" in capsys.readouterr().err


def test_a_wrong_option_gets_one_line_and_not_the_whole_usage(capsys):
    with pytest.raises(SystemExit) as exit_:
        run("generate", "star", "--first", "-1")
    said = capsys.readouterr().err.splitlines()
    assert exit_.value.code == 2 and len(said) == 2
    assert said[0].startswith("randar generate: argument --first: it must be a whole number of at least 0")
