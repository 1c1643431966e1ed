"""A training that two processes share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_trainings import (
    adversarial_run,
    decoder_run,
    kill_at,
    losses,
    muon_run,
    some_ids,
    tokenizer_run,
    transformer_run,
)

from randar_core.training.tokens import load_tokens

TWO_PROCESSES = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import tiny_trainings as tiny
from tiny_trainings import torch
from randar_core.runtime.distributed import distributed
from randar_core.training.tokens import save_tokens
torch.set_num_threads(1)
with distributed(tiny.CPU):
    tiny.transformer_run(Path({folder!r}, "transformer"))
    tiny.muon_run(Path({folder!r}, "muon"))
    tiny.tokenizer_run(Path({folder!r}, "tokenizer"))
    tiny.decoder_run(Path({folder!r}, "decoder"))
    tiny.adversarial_run(Path({folder!r}, "adversarial"))
    tiny.transformer_run(Path({folder!r}, "begun_alone"), resume=True)
    ids = tiny.some_ids(facts={{"shared": True}})
    if torch.distributed.get_rank() == 1:
        save_tokens(ids, Path({folder!r}, "ids.safetensors"))
"""


def test_two_processes_take_the_course_of_one(whole, tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO_PROCESSES.format(tests=str(Path(__file__).parents[1]), folder=str(tmp_path)))
    with pytest.raises(KeyboardInterrupt):
        transformer_run(tmp_path / "begun_alone", on_sample=kill_at(5))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *launch], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    # bfloat16 rounds sums of two halves otherwise than whole sums, and a rounded vector may choose another code.
    tolerances = {transformer_run: 1e-3, muon_run: 1e-3, tokenizer_run: 5e-3, decoder_run: 5e-3}
    for run, tolerance in tolerances.items():
        name = run.__name__.removesuffix("_run")
        assert losses(tmp_path / name) == pytest.approx(losses(whole(run)[0]), rel=tolerance), name
    assert losses(tmp_path / "begun_alone") == pytest.approx(losses(whole(transformer_run)[0]), rel=1e-3)
    # What two networks learn from each other makes a rounding grow from step to step.
    first = losses(whole(adversarial_run)[0])[:4]
    assert losses(tmp_path / "adversarial")[:4] == pytest.approx(first, rel=5e-3)
    shared, alone = load_tokens(tmp_path / "ids.safetensors", {"shared": True}), some_ids({"shared": True})
    assert torch.equal(shared.ids, alone.ids) and torch.equal(shared.labels, alone.labels)
