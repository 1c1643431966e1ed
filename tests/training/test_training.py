import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file

from randar_core.checkpoints.model import load_model
from randar_core.cli import train as command
from randar_core.io.images import save_png
from randar_core.models.llamagen import LlamaGenConfig, LlamaGenTokenizer
from randar_core.models.randar import RandAR, RandARConfig
from randar_core.training import builtin, run_state
from randar_core.training import train as trainings
from randar_core.training.cpu_attention import causal_attention
from randar_core.training.folder import by_name, open_folder
from randar_core.training.log import Log
from randar_core.training.loop import OPTIMIZERS, LoopSetting, Reporting, make_optimizers, rate, train
from randar_core.training.muon import Muon, orthogonal
from randar_core.training.net2wider import widen
from randar_core.training.pictures import FREE, PORTRAIT, UPRIGHT, Pictures
from randar_core.training.samples import ExchangedSamples, PixelSamples, item_of
from randar_core.training.tokenizer import (
    PixelsObjective,
    PixelsRecipe,
    TokenizerObjective,
    TokenizerRecipe,
    border_weights,
    reconstruction,
)
from randar_core.training.tokens import TokenSet, encode_set, load_tokens, save_tokens
from randar_core.training.transformer import DecoderObjective, Prefixes, Start, TokenSamples, begin_with, initialise

CPU = torch.device("cpu")
SETTING = LoopSetting(steps=8, batch=4, learning_rate=1e-2, warmup=2, average=0.9)
DECODER = RandARConfig(width=32, layers=1, heads=2, codebook_size=16, classes=3, grid=3)
TOKENIZER = LlamaGenConfig(4, (1, 2), 1, 8, 4, 8, 2)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def decoder_run(folder: Path, setting=SETTING, resume=False, on_sample=None, config=DECODER, **reporting) -> RandAR:
    folder.mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(config.codebook_size, (10, config.grid**2), generator=generator)
    decoder = RandAR(config)
    initialise(decoder, setting.seed)
    samples = TokenSamples(ids, torch.arange(10) % config.classes, decoder.null_class, setting.seed)
    report = Reporting(folder, **{"log_every": 1, "save_every": 3, "sample_every": 1} | reporting)
    objective = DecoderObjective(decoder)
    return train(objective, samples, setting, report, {"decoder": vars(config)}, CPU, resume, on_sample)


def tokenizer_run(folder: Path, resume=False, on_sample=None, log_every=1) -> LlamaGenTokenizer:
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    recipe = TokenizerRecipe(free_steps=2, revive_every=2)
    objective = TokenizerObjective(LlamaGenTokenizer(TOKENIZER), recipe, 8, seed=0)
    samples = PixelSamples(Pictures(0, 10, size=16), seed=0)
    report = Reporting(folder, log_every=log_every, save_every=3, sample_every=1)
    return train(objective, samples, SETTING, report, {}, CPU, resume, on_sample)


def pixels_run(folder: Path, resume=False, on_sample=None) -> LlamaGenTokenizer:
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    report = Reporting(folder, log_every=1, save_every=3, sample_every=1)
    objective = PixelsObjective(LlamaGenTokenizer(TOKENIZER), PixelsRecipe())
    samples = objective.samples(PixelSamples(Pictures(0, 10, size=16), 0))
    return train(objective, samples, SETTING, report, {}, CPU, resume, on_sample)


def losses(folder: Path) -> list[float]:
    with (folder / "log.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def kill_at(step: int):
    def on_sample(done: int) -> None:
        if done == step:
            raise KeyboardInterrupt

    return on_sample


def muon_run(folder: Path, resume=False, on_sample=None) -> RandAR:
    return decoder_run(folder, replace(SETTING, optimizer="muon"), resume, on_sample)


@pytest.mark.parametrize("run", [decoder_run, muon_run, tokenizer_run, pixels_run])
def test_a_killed_training_resumes_exactly(run, tmp_path):
    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", on_sample=kill_at(5))
    resumed = run(tmp_path / "killed", resume=True)
    for (name, expected), found in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(expected, found), name
    assert losses(tmp_path / "whole") == losses(tmp_path / "killed")


def test_the_usage_of_the_codebook_is_in_the_log_though_a_kill_came_between(tmp_path):
    # Usage is known after steps 4, 6 and 8, a checkpoint is made after step 6, and the kill comes before the row of 7.
    tokenizer_run(tmp_path / "whole", log_every=7)
    with pytest.raises(KeyboardInterrupt):
        tokenizer_run(tmp_path / "killed", on_sample=kill_at(6), log_every=7)
    tokenizer_run(tmp_path / "killed", resume=True, log_every=7)
    whole, killed = ((tmp_path / name / "log.csv").read_text().splitlines() for name in ("whole", "killed"))
    columns = whole[0].split(",")

    def without_seconds(rows: list[str]) -> list[dict[str, str]]:
        return [{**dict(zip(columns, row.split(","), strict=True)), "seconds": ""} for row in rows[1:]]

    assert without_seconds(whole) == without_seconds(killed)
    assert sum(bool(row["usage"]) for row in without_seconds(whole)) == 2


def test_the_same_seed_gives_the_same_training_and_another_seed_another(tmp_path):
    first, second = decoder_run(tmp_path / "first"), decoder_run(tmp_path / "second")
    other = decoder_run(tmp_path / "other", replace(SETTING, seed=1))
    assert torch.equal(first.output.weight, second.output.weight)
    assert not torch.equal(first.output.weight, other.output.weight)


def test_training_learns(tmp_path):
    decoder_run(tmp_path / "run", replace(SETTING, steps=80, batch=10), save_every=80, sample_every=80)
    course = losses(tmp_path / "run")
    assert course[0] == pytest.approx(np.log(16), rel=1e-3)
    assert np.mean(course[-5:]) < 0.8 * course[0]


TWO_PROCESSES = """
import sys
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import SimpleNamespace
sys.path.insert(0, {tests!r})
import test_training
from randar_core.runtime.distributed import distributed
test_training.torch.set_num_threads(1)
with distributed(test_training.CPU):
    test_training.decoder_run(Path({folder!r}, "decoder"))
    test_training.muon_run(Path({folder!r}, "muon"))
    test_training.tokenizer_run(Path({folder!r}, "tokenizer"))
    test_training.pixels_run(Path({folder!r}, "pixels"))
    test_training.decoder_run(Path({folder!r}, "begun_alone"), resume=True)
    ids = test_training.some_ids(facts={{"shared": True}})
    if test_training.torch.distributed.get_rank() == 1:
        test_training.save_tokens(ids, Path({folder!r}, "ids.safetensors"))
"""


def some_ids(facts: dict) -> TokenSet:
    torch.manual_seed(0)
    return encode_set(LlamaGenTokenizer(TOKENIZER), Pictures(0, 7, size=16), facts, CPU, batch=2)


def test_two_processes_walk_as_one(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO_PROCESSES.format(tests=str(Path(__file__).parent), folder=str(tmp_path)))
    with pytest.raises(KeyboardInterrupt):
        decoder_run(tmp_path / "begun_alone", on_sample=kill_at(5))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *launch], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    decoder_run(tmp_path / "one_decoder")
    muon_run(tmp_path / "one_muon")
    tokenizer_run(tmp_path / "one_tokenizer")
    pixels_run(tmp_path / "one_pixels")
    # bfloat16 rounds sums of two halves otherwise than whole sums, and a rounded vector may choose another code.
    for name, tolerance in (("decoder", 1e-3), ("muon", 1e-3), ("tokenizer", 5e-3), ("pixels", 5e-3)):
        assert losses(tmp_path / name) == pytest.approx(losses(tmp_path / f"one_{name}"), rel=tolerance), name
    assert losses(tmp_path / "begun_alone") == pytest.approx(losses(tmp_path / "one_decoder"), rel=1e-3)
    shared, alone = load_tokens(tmp_path / "ids.safetensors", {"shared": True}), some_ids({"shared": True})
    assert torch.equal(shared.ids, alone.ids) and torch.equal(shared.labels, alone.labels)


def test_a_batch_that_processes_cannot_share_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    with pytest.raises(ValueError, match="batch of 4 can't be shared evenly among 3"):
        decoder_run(tmp_path / "run")


def test_another_configuration_is_named_at_a_resume(tmp_path):
    decoder_run(tmp_path / "run")
    with pytest.raises(ValueError, match=r"decoder\.width: 32 then, 64 now"):
        decoder_run(tmp_path / "run", resume=True, config=replace(DECODER, width=64))
    with pytest.raises(ValueError, match=r"loop\.batch: 4 then, 2 now"):
        decoder_run(tmp_path / "run", replace(SETTING, batch=2), resume=True)


def test_a_folder_with_a_training_is_not_overwritten(tmp_path):
    decoder_run(tmp_path / "run")
    with pytest.raises(ValueError, match="holds a training already. Add --resume"):
        decoder_run(tmp_path / "run")


def test_a_resume_without_a_checkpoint_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        decoder_run(tmp_path / "run", resume=True)


def test_a_damaged_checkpoint_is_named(tmp_path):
    decoder_run(tmp_path / "run")
    path = tmp_path / "run" / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="checkpoint.pt' is no checkpoint of a training, or it is damaged"):
        decoder_run(tmp_path / "run", resume=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_of_by_the_row_or_the_sheet_that_found_no_room(tmp_path):
    with Log(tmp_path / "log.csv", ["loss"], 0, 2, write=True) as log:
        log.file.close()
        log.file = open("/dev/full", "w")
        log.writer = log.writer_to(log.file)
        with pytest.raises(OSError, match=r"log '.*log.csv' can't be written \(No space .*Make room.* --resume"):
            log.write(1, 0.1, 4, {"loss": 1.0})
    (tmp_path / "next.csv.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="next.csv' can't be written .*Make room"):
        Log(tmp_path / "next.csv", ["loss"], 0, 2, write=True).__enter__()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.csv"]
    (tmp_path / "sheet.png.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"picture '.*sheet.png' can't be written \(No space.*Make room"):
        save_png(tmp_path / "sheet.png", torch.zeros(3, 64, 64))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.csv"]
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(OSError, match=r"taken.png' can't be written \([^)]*\)\.$"):  # room wouldn't help
        save_png(tmp_path / "taken.png", torch.zeros(3, 64, 64))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_row_that_a_full_disk_cut_does_not_hinder_a_resume(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        decoder_run(tmp_path / "run", on_sample=kill_at(7))
    log = tmp_path / "run" / "log.csv"
    log.write_text("\n".join(log.read_text().splitlines()[:5])[:-20])
    decoder_run(tmp_path / "run", resume=True)
    assert [row.split(",")[0] for row in log.read_text().splitlines()] == ["step", *map(str, (1, 2, 3, 7, 8))]


def test_no_checkpoint_is_made_of_weights_that_are_no_numbers(tmp_path):
    # Between two rows of the log, at the third step, where the checkpoint is due.
    setting = replace(SETTING, learning_rate=1e30, clip=1e30)
    with pytest.raises(ValueError, match="its gradient (nan|inf)"):
        decoder_run(tmp_path / "run", setting, log_every=100)
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path):
    path = tmp_path / "checkpoint.pt"
    state = run_state.Checkpoint(3, {"a": 1}, {"w": torch.ones(1000)}, {}, {})
    run_state.save(state, path)
    (tmp_path / "checkpoint.pt.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="checkpoint of step 6 can't be written.*the one before it is untouched"):
        run_state.save(replace(state, step=6), path)
    assert run_state.load(path).step == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_kill_while_a_checkpoint_is_written_leaves_the_last_good_one(tmp_path, monkeypatch):
    whole, written = decoder_run(tmp_path / "whole"), torch.save

    def killed_at_step_6(state: dict, file) -> None:
        if state["step"] == 6:
            file.write(b"half of a checkpoint")
            raise KeyboardInterrupt
        written(state, file)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch, "save", killed_at_step_6)
        decoder_run(tmp_path / "killed")
    assert run_state.load(tmp_path / "killed" / "checkpoint.pt").step == 3
    resumed = decoder_run(tmp_path / "killed", resume=True)
    assert all(map(torch.equal, whole.state_dict().values(), resumed.state_dict().values()))
    assert not (tmp_path / "killed" / "checkpoint.pt.part").exists()


def test_a_loss_that_is_no_number_stops_the_training(tmp_path):
    with pytest.raises(ValueError, match="loss of step .* is .*, its gradient (nan|inf)"):
        decoder_run(tmp_path / "run", replace(SETTING, learning_rate=1e30, clip=1e30))


def test_the_rate_warms_up_and_falls_to_zero():
    setting = LoopSetting(steps=100, batch=1, learning_rate=1.0, warmup=10)
    rates = [rate(setting, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert 0.9 < max(rates) <= 1 and rates.index(max(rates)) == 9
    assert rates[-1] < 1e-3 and rates[9:] == sorted(rates[9:], reverse=True)


def test_only_matrices_decay():
    decoder = RandAR(DECODER)
    groups = make_optimizers(decoder, SETTING)[0].param_groups
    decaying = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    names = {name for name, p in decoder.named_parameters() if id(p) in decaying}
    assert names == {n for n, _ in decoder.named_parameters() if n.endswith((".wqkv.weight", ".wo.weight"))} | {
        "layers.0.feed_forward.w1.weight",
        "layers.0.feed_forward.w2.weight",
        "layers.0.feed_forward.w3.weight",
        "output.weight",
    }


def test_muon_takes_the_matrices_of_the_layers_and_adamw_the_rest():
    decoder = RandAR(DECODER)
    adamw, muon = make_optimizers(decoder, replace(SETTING, optimizer="muon"))
    assert isinstance(adamw, torch.optim.AdamW) and isinstance(muon, Muon)
    taken = [{id(p) for group in each.param_groups for p in group["params"]} for each in (adamw, muon)]
    names = {name for name, p in decoder.named_parameters() if id(p) in taken[1]}
    assert names == {f"layers.0.attention.{name}.weight" for name in ("wqkv", "wo")} | {
        f"layers.0.feed_forward.{name}.weight" for name in ("w1", "w2", "w3")
    }
    assert not taken[0] & taken[1] and len(taken[0] | taken[1]) == len(list(decoder.parameters()))


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon to compare with")
def test_muon_steps_as_that_of_torch_up_to_its_bfloat16():
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=generator) for shape in ((12, 4), (4, 12), (12, 4), (8, 8))]
    ours, theirs = ([matrix.clone().requires_grad_() for matrix in start] for _ in range(2))
    optimizers = (
        Muon(ours, lr=0.1, weight_decay=0.1),
        torch.optim.Muon(theirs, lr=0.1, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(3):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for one, other, before in zip(ours, theirs, start, strict=True):
        assert (one - other).norm() < 0.02 * (one - before).norm()


def test_an_update_of_muon_is_near_to_orthogonal():
    updates = orthogonal(torch.randn(3, 6, 24, generator=torch.Generator().manual_seed(0)))
    values = torch.linalg.svdvals(updates)
    assert values.min() > 0.6 and values.max() < 1.3


def test_an_optimizer_that_does_not_fit_is_named():
    with pytest.raises(ValueError, match="matrices of a decoder's layers"):
        make_optimizers(LlamaGenTokenizer(TOKENIZER), replace(SETTING, optimizer="muon"))
    with pytest.raises(ValueError, match="'sgd' is not known. There are: adamw, muon"):
        make_optimizers(RandAR(DECODER), replace(SETTING, optimizer="sgd"))


def test_the_command_offers_every_optimizer(capsys):
    with pytest.raises(SystemExit):
        randar("train", "procedural", "--tokenizer", "t", "--optimizer", "sgd")
    said = capsys.readouterr().err
    assert all(name in said for name in OPTIMIZERS)


@pytest.mark.parametrize("batch", [1, 4])
def test_prefixes_cut_whole_batches_of_the_same_orders(batch):
    ids = torch.arange(90).reshape(10, 9)
    whole = TokenSamples(ids, torch.arange(10) % 3, null_class=3, seed=0)
    cut = replace(whole, prefixes=Prefixes(cells=4, whole_every=3), batch=batch)
    for number in range(12 * batch):
        expected, got = whole[number], cut[number]
        cells = 9 if number // batch % 3 == 2 else 4
        assert got["order"].tolist() == expected["order"][:cells].tolist()
        assert got["tokens"].tolist() == expected["tokens"][:cells].tolist()
        assert got["classes"] == expected["classes"]


def test_every_picture_comes_once_an_epoch_in_an_order_of_its_own():
    epochs = [[item_of(number, 7, seed=0) for number in range(start, start + 7)] for start in (0, 7)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(7))] * 2
    assert epochs[0] != epochs[1]


def test_a_sample_has_its_own_order_and_at_times_no_class():
    ids = torch.arange(90).reshape(10, 9)
    samples = TokenSamples(ids, torch.arange(10) % 3, null_class=3, seed=0)
    drawn = [samples[number] for number in range(400)]
    assert torch.equal(drawn[7]["order"], samples[7]["order"])
    assert len({tuple(sample["order"].tolist()) for sample in drawn}) > 390
    for sample in drawn[:20]:
        assert torch.equal(sample["tokens"] % 9, sample["order"])
    assert 0.05 < np.mean([int(sample["classes"]) == 3 for sample in drawn]) < 0.16


def test_a_grown_decoder_begins_as_what_it_grew_from_and_learns_in_its_new_layers():
    config = RandARConfig(width=16, layers=1, heads=2, codebook_size=8, classes=3, grid=3)
    small, large = RandAR(config), RandAR(replace(config, layers=3))
    initialise(small, 0)
    torch.nn.init.normal_(small.output.weight, generator=torch.Generator().manual_seed(0))
    initialise(large, 1)
    begin_with(large, "abc", Start(small, "abc"))
    order = torch.stack([torch.randperm(9, generator=torch.Generator().manual_seed(i)) for i in range(4)])
    batch = {"classes": torch.tensor([0, 1, 2, 3]), "tokens": order % 8, "order": order}
    expected, found = (DecoderObjective(model)(batch, 0)[0] for model in (small, large))
    assert found == expected
    objective = DecoderObjective(large)
    before = {name: weight.clone() for name, weight in large.named_parameters()}
    optimizers = make_optimizers(large, LoopSetting(2, 4, 0.01, 0, 0.0, optimizer="muon"))
    for step in range(2):  # in the first one only what adds to the stream has a gradient
        loss = objective(batch, step)[0]
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
    for name, weight in large.named_parameters():
        assert weight.isfinite().all() and not torch.equal(weight, before[name]), name


def test_pictures_of_oversampled_classes_come_more_often_but_not_without_their_class():
    ids = torch.arange(6).repeat_interleave(4).reshape(6, 4)
    samples = TokenSamples(ids, torch.arange(6) % 3, null_class=3, seed=0, oversample=torch.tensor([1, 4, 1]))
    epoch = [samples[number] for number in range(12)]
    assert sorted(int(sample["tokens"][0]) for sample in epoch) == [0, 1, 1, 1, 1, 2, 3, 4, 4, 4, 4, 5]
    drawn = [samples[number] for number in range(6000)]
    without = [int(sample["tokens"][0]) % 3 for sample in drawn if sample["classes"] == 3]
    assert len(without) == pytest.approx(0.1 * 6000 / 2, rel=0.25)  # 6 of 12 samples stand for a class each
    for label in range(3):
        assert without.count(label) == pytest.approx(len(without) / 3, rel=0.3)


def test_quick_attention_is_attention():
    query, key, value = (torch.randn(5, 2, 300, 8, generator=torch.Generator().manual_seed(i)) for i in range(3))
    expected = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    assert torch.allclose(causal_attention(query, key, value), expected, atol=1e-5)


def test_dead_codes_move_onto_vectors_of_the_batch():
    tokenizer = LlamaGenTokenizer(TOKENIZER)
    objective = TokenizerObjective(tokenizer, TokenizerRecipe(free_steps=0, revive_every=1), steps=10, seed=0)
    optimizer = torch.optim.AdamW(tokenizer.parameters())
    with torch.no_grad():
        tokenizer.quantize.embedding.weight[1:] = -tokenizer.quantize.embedding.weight[:1]
    loss, _ = objective({"pixels": torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))}, step=1)
    loss.backward()
    optimizer.step()
    uses = objective.uses.clone()
    figures = objective.after_step(1, optimizer)
    dead = (uses == 0).nonzero().squeeze(1)
    assert len(dead) >= 6 and figures["usage"] == pytest.approx(1 - len(dead) / 8)
    rows = tokenizer.quantize.embedding.weight[dead]
    assert all((objective.latest - row).norm(dim=1).min() < 1e-6 for row in rows)


def test_ids_are_kept_for_the_same_pictures_only(tmp_path):
    tokens = encode_set(LlamaGenTokenizer(TOKENIZER), Pictures(0, 5, size=16), {"a": 1}, CPU)
    assert tokens.ids.shape == (5, 64) and tokens.labels.tolist() == [0, 1, 2, 3, 4]
    save_tokens(tokens, tmp_path / "ids.safetensors")
    assert torch.equal(load_tokens(tmp_path / "ids.safetensors", {"a": 1}).ids, tokens.ids)
    assert load_tokens(tmp_path / "ids.safetensors", {"a": 2}) is None


# --- a folder of pictures ---------------------------------------------------------------------------------------------


def save_picture(path: Path, width=20, height=16, colour=(200, 30, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), colour).save(path)


@pytest.fixture
def pictures(tmp_path) -> Path:
    root = tmp_path / "pictures"
    for label, colour in (("blue", (0, 0, 200)), ("red", (200, 0, 0))):
        for index in range(3):
            save_picture(root / label / f"{index}.png", colour=colour)
    return root


def test_sub_folders_are_classes_in_the_order_of_their_names(pictures):
    folder = open_folder(pictures, size=16)
    assert folder.classes == ("blue", "red") and len(folder) == 6
    pixels, label = folder[5]
    assert pixels.shape == (16, 16, 3) and pixels.dtype == np.uint8 and label == 1 and pixels[0, 0, 0] == 200


@pytest.mark.parametrize("system", [PurePosixPath, PureWindowsPath])
def test_classes_have_the_same_order_on_every_system(system):
    names = ["C", "b", "A/z", "A-b/a", "a"]
    assert by_name(map(system, names)) == [system(name) for name in ("A/z", "A-b/a", "C", "a", "b")]


def test_an_empty_class_folder_is_named(pictures):
    (pictures / "green").mkdir()
    with pytest.raises(ValueError, match="class folder '.*green' holds no pictures"):
        open_folder(pictures, 16)


def test_broken_and_small_pictures_are_skipped_by_name(pictures):
    (pictures / "red" / "noise.png").write_bytes(b"no picture")
    whole = (pictures / "red" / "0.png").read_bytes()
    (pictures / "red" / "cut.png").write_bytes(whole[: len(whole) - 30])
    (pictures / "red" / "program.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\nshowpage\n")
    save_picture(pictures / "blue" / "small.png", 15, 40)
    folder = open_folder(pictures, 16)
    assert len(folder) == 6
    skipped = "\n".join(folder.skipped)
    assert all(name in skipped for name in ("noise.png", "cut.png", "program.png", "small.png")) and "15×40" in skipped


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all names are Unicode")
def test_a_name_that_is_no_unicode_is_as_good_as_another(pictures):
    shutil.copy(pictures / "red" / "0.png", os.fsencode(pictures / "red") + b"/caf\xe9.png")
    folder = open_folder(pictures, 16)
    assert len(folder) == 7 and folder.facts()["pictures"] == 7


def test_a_clip_of_nothing_clips_nothing(tmp_path):
    free, far = (decoder_run(tmp_path / f"{clip}", replace(SETTING, clip=clip)) for clip in (0.0, 1e9))
    assert all(torch.equal(*pair) for pair in zip(free.parameters(), far.parameters(), strict=True))


def test_a_small_clip_clips(tmp_path):
    free, tight = (decoder_run(tmp_path / f"{clip}", replace(SETTING, clip=clip)) for clip in (0.0, 0.01))
    assert not all(torch.equal(*pair) for pair in zip(free.parameters(), tight.parameters(), strict=True))
    rows = csv.DictReader((tmp_path / "0.01" / "log.csv").read_text().splitlines())
    gradients = [float(row["gradient"]) for row in rows]
    assert min(gradients) > 0.01  # the log has what it was before


def test_what_comes_out_is_the_average_of_the_weights(tmp_path, monkeypatch):
    raw, save = [], run_state.save

    def keep(state, path):
        raw.append(state.objective["model.output.weight"].clone())
        save(state, path)

    monkeypatch.setattr(run_state, "save", keep)
    found = decoder_run(tmp_path / "run", save_every=1)
    expected = torch.zeros_like(raw[0])  # where the output layer begins
    for step, weights in enumerate(raw):
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weights
    assert len(raw) == SETTING.steps
    torch.testing.assert_close(found.output.weight, expected)
    assert not torch.allclose(found.output.weight, raw[-1])


@pytest.mark.parametrize("computes", [True, False])
def test_products_are_in_bfloat16_where_the_processor_has_them(tmp_path, monkeypatch, computes):
    monkeypatch.setattr("randar_core.runtime.capabilities.cpu_computes_bfloat16", lambda: computes)
    seen, forward = [], DecoderObjective.forward

    def watched(self, batch, step):
        loss, figures = forward(self, batch, step)
        seen.append(self.model.output(torch.zeros(1, DECODER.width)).dtype)
        return loss, figures

    monkeypatch.setattr(DecoderObjective, "forward", watched)
    trained = decoder_run(tmp_path / "run")
    assert set(seen) == {torch.bfloat16 if computes else torch.float32}
    assert all(parameter.dtype == torch.float32 for parameter in trained.parameters())


def test_transparent_pictures_lie_on_white_and_lost_ones_are_named(pictures):
    Image.new("RGBA", (20, 20), (255, 0, 0, 0)).save(pictures / "red" / "clear.png")
    folder = open_folder(pictures, 16)
    place = next(i for i, (path, _) in enumerate(folder.files) if path.name == "clear.png")
    assert (folder[place][0] == 255).all()
    (pictures / "red" / "clear.png").write_bytes(b"")
    with pytest.raises(OSError, match="clear.png' was a good picture when the training began"):
        folder[place]


def test_hidden_folders_are_left_out_and_replaced_pictures_noticed(pictures):
    before = open_folder(pictures, 16).facts()
    copies = pictures / "red" / ".checkpoints"
    copies.mkdir()
    one = next((pictures / "red").glob("*.png"))
    shutil.copy(one, copies / "copy.png")
    assert open_folder(pictures, 16).facts() == before
    Image.effect_noise((40, 40), 90).save(one)
    assert open_folder(pictures, 16).facts() != before


def test_a_class_whose_pictures_all_fail_is_refused(pictures):
    with pytest.raises(ValueError, match="None of the 3 pictures of the class folder '.*blue' can be.*smaller --size"):
        open_folder(pictures, 32)


def test_a_folder_without_classes_is_refused(tmp_path):
    save_picture(tmp_path / "loose.png")
    with pytest.raises(ValueError, match="has no sub-folders"):
        open_folder(tmp_path, 16)
    with pytest.raises(ValueError, match="There is no folder"):
        open_folder(tmp_path / "nowhere", 16)


# --- the commands -----------------------------------------------------------------------------------------------------


def randar(*words: object) -> None:
    import argparse

    parser = argparse.ArgumentParser()
    command.register(parser.add_subparsers(required=True))
    arguments = parser.parse_args([str(word) for word in words])
    arguments.run(arguments)


def test_from_a_folder_to_a_model_that_loads(pictures, tmp_path, capsys):
    from randar_core.checkpoints.model import load_model

    shutil.rmtree(pictures / "red")
    short = ("--steps", 3, "--batch", 2, "--save-every", 2, "--sample-every", 3, "--device", "cpu", "--size", 16)
    small = ("--channels", 4, "--multipliers", 1, 2, "--codebook-size", 8, "--z-channels", 8, "--norm-groups", 2)
    randar("train-tokenizer", pictures, "--out", tmp_path / "t", *short, *small)
    tiny = ("--width", 16, "--layers", 1, "--heads", 2, "--sheet-steps", 3, "--optimizer", "muon", "--first-cells", 5)
    tokenizer = tmp_path / "t" / trainings.TOKENIZER_FILE
    randar("train", pictures, "--tokenizer", tokenizer, "--out", tmp_path / "d", *short, *tiny)
    assert "one class only" in capsys.readouterr().out
    model = load_model(tmp_path / "d" / trainings.MODEL_FILE)
    assert model.class_names == ("blue",) and model.transformer.config.grid == 8
    assert (tmp_path / "d" / "samples-000003.png").exists() and len(losses(tmp_path / "d")) == 1


def test_the_first_process_reads_the_folder_for_all(pictures, monkeypatch, capsys):
    found = open_folder(pictures, 16)
    heard = [found, None]
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(
        torch.distributed, "broadcast_object_list", lambda answer: answer.__setitem__(slice(None), heard)
    )
    monkeypatch.setattr("randar_core.training.folder.fault_of", None)  # nothing is read
    arguments = SimpleNamespace(pictures=str(pictures), size=16, count=None, turn=None, extent=None, one_way=None)
    assert command._pictures(arguments)[0] == found
    assert capsys.readouterr().out == ""
    heard[:] = None, ValueError("The class folder 'green' holds no pictures.")
    with pytest.raises(ValueError, match="green"):
        command._pictures(arguments)


def test_what_is_skipped_is_named_and_counted_before_a_training(pictures, tmp_path, capsys):
    (pictures / "red" / "noise.png").write_bytes(b"no picture")
    save_picture(pictures / "blue" / "small.png", 15, 40)
    command._pictures(
        SimpleNamespace(pictures=str(pictures), size=16, count=None, turn=None, extent=None, one_way=None)
    )
    said = capsys.readouterr().out
    assert "6 pictures in 2 classes: blue, red" in said and "Skipped in all: 2." in said
    assert "noise.png: it can't be read" in said and "small.png: it has 15×40 pixels" in said


def test_what_can_be_refused_is_before_the_ids_are_made(pictures, tmp_path, monkeypatch):
    common = ("--batch", 2, "--device", "cpu", "--size", 16, "--steps", 1)
    small = ("--channels", 4, "--multipliers", 1, 2, "--codebook-size", 8, "--z-channels", 8, "--norm-groups", 2)
    randar("train-tokenizer", pictures, "--out", tmp_path / "t", *common, *small)
    network = ("--width", 16, "--layers", 1, "--heads", 2)
    short = (
        "train",
        pictures,
        "--tokenizer",
        tmp_path / "t" / trainings.TOKENIZER_FILE,
        *common,
        "--out",
        tmp_path / "d",
    )
    randar(*short, *network, "--sheet-steps", 3)

    def encode(*_, **__):
        raise AssertionError("ids were made")

    monkeypatch.setattr(trainings, "encoded", encode)
    with pytest.raises(ValueError, match="holds a training already"):
        randar(*short, *network)
    with pytest.raises(ValueError, match="can't have 3 heads"):
        randar(*short[:-1], tmp_path / "e", "--width", 16, "--heads", 3)
    with pytest.raises(ValueError, match="Guidance goes from 1.0 to nan"):
        randar(*short[:-1], tmp_path / "e", *network, "--guidance", "nan")
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        randar(*short[:-1], tmp_path / "e", *network, "--resume")
    save_picture(pictures / "red" / "more.png", 20, 20)
    with pytest.raises(ValueError, match=r"tokens\.pictures: 6 then, 7 now"):
        randar(*short, *network, "--sheet-steps", 3, "--resume")


def test_a_trained_model_goes_on_with_other_classes(pictures, tmp_path):
    from randar_core.checkpoints.model import load_model

    common = ("--batch", 2, "--device", "cpu", "--size", 16)
    small = ("--channels", 4, "--multipliers", 1, 2, "--codebook-size", 8, "--z-channels", 8, "--norm-groups", 2)
    randar("train-tokenizer", pictures, "--out", tmp_path / "t", *common, "--steps", 2, *small)
    short = (*common, "--tokenizer", tmp_path / "t" / trainings.TOKENIZER_FILE, "--sheet-steps", 3)
    network = ("--width", 16, "--layers", 1, "--heads", 2)
    randar("train", pictures, "--out", tmp_path / "first", *short, *network, "--steps", 4)
    first = tmp_path / "first" / trainings.MODEL_FILE
    before = load_model(first)
    # A rate of zero shows what the training began with.
    still = ("--steps", 1, "--rate", 0, "--weight-decay", 0, "--start-from", first)
    randar("train", pictures, "--out", tmp_path / "same", *short, *still)
    shutil.rmtree(pictures / "red")
    randar("train", pictures, "--out", tmp_path / "fewer", *short, *still)
    same, fewer = (load_model(tmp_path / name / trainings.MODEL_FILE) for name in ("same", "fewer"))
    assert (before.transformer.config.classes, fewer.transformer.config.classes) == (2, 1)
    classes = "cls_embedding.embedding_table.weight"
    for name, weights in before.transformer.state_dict().items():
        torch.testing.assert_close(same.transformer.state_dict()[name], weights)
        if name != classes:
            torch.testing.assert_close(fewer.transformer.state_dict()[name], weights)
    # Of "blue", "red" and none, "red" is gone.
    found, expected = fewer.transformer.state_dict()[classes], before.transformer.state_dict()[classes]
    torch.testing.assert_close(found, expected[[0, 2]])
    with pytest.raises(ValueError, match="but for added layers; leave out --heads, --width"):
        randar("train", pictures, "--out", tmp_path / "x", *short, *network, "--start-from", first)
    oversampled = (*still, "--layers", 3, "--oversample", "Blue=2", "--oversample", "0=2")
    with pytest.raises(ValueError, match="How often the class 'blue' comes is said twice"):
        randar("train", pictures, "--out", tmp_path / "grown", *short, *oversampled)
    with pytest.raises(ValueError, match="There is no class named 'blu'. Did you mean blue"):
        randar("train", pictures, "--out", tmp_path / "grown", *short, *still, "--oversample", "blu=2")
    randar("train", pictures, "--out", tmp_path / "grown", *short, *oversampled[:-2])
    with pytest.raises(ValueError, match="oversample: "):
        other = (*oversampled[:-3], "blue=3", "--resume")
        randar("train", pictures, "--out", tmp_path / "grown", *short, *other)
    grown = load_model(tmp_path / "grown" / trainings.MODEL_FILE)
    assert grown.transformer.config.layers == 3
    with pytest.raises(ValueError, match="has 3 layers, the one to be trained 2: ask for 3 or more"):
        shrunk = ("--start-from", tmp_path / "grown" / trainings.MODEL_FILE, "--layers", 2)
        randar("train", pictures, "--out", tmp_path / "w", *short, "--steps", 1, *shrunk)
    with pytest.raises(ValueError, match="has grid 8, the one to be trained 4"):
        larger = ("--size", 8, "--start-from", first)
        randar("train", pictures, "--out", tmp_path / "y", *short, *larger)
    randar("train-tokenizer", pictures, "--out", tmp_path / "u", *common, "--steps", 2, *small, "--seed", 1)
    with pytest.raises(ValueError, match="learnt the ids of another tokenizer"):
        other = ("--tokenizer", tmp_path / "u" / trainings.TOKENIZER_FILE)
        randar("train", pictures, "--out", tmp_path / "z", *common, *other, "--steps", 1, "--start-from", first)
    with pytest.raises(ValueError, match="start: not set then"):
        randar("train", pictures, "--out", tmp_path / "first", *short, *still, "--resume")


@pytest.mark.parametrize(
    ("option", "value"),
    [("first-cells", -1), ("batch", 0), ("save-every", 0), ("size", 0), ("warmup", -1), ("class-dropout", 5)],
)
def test_numbers_that_make_no_sense_are_refused(option, value, pictures, tmp_path, capsys):
    with pytest.raises(SystemExit):
        randar("train", pictures, "--tokenizer", "t", "--out", tmp_path / "d", f"--{option}", value)
    assert f"--{option}: it must be " in capsys.readouterr().err


@pytest.mark.parametrize(("value", "said"), [("fish", "isn't of the form CLASS=N"), ("fish=0", "at least 1")])
def test_a_number_of_times_that_makes_no_sense_is_refused(value, said, pictures, tmp_path, capsys):
    with pytest.raises(SystemExit):
        randar("train", pictures, "--tokenizer", "t", "--out", tmp_path / "d", "--oversample", value)
    assert said in capsys.readouterr().err


def test_options_that_would_be_ignored_are_refused(pictures, tmp_path):
    with pytest.raises(ValueError, match="--whole-every goes with --first-cells"):
        randar("train", pictures, "--tokenizer", "t", "--whole-every", 4)
    with pytest.raises(ValueError, match="--count is for 'procedural'"):
        randar("train-tokenizer", pictures, "--out", tmp_path, "--size", 16, "--count", 5)
    for option in (("--turn", 15), ("--extent", 0.3, 0.4), ("--one-way",)):
        with pytest.raises(ValueError, match=f"{option[0]} is for 'procedural'"):
            randar("train-tokenizer", pictures, "--out", tmp_path, "--size", 16, *option)


@pytest.mark.parametrize(
    ("bounds", "facts"),
    [
        (FREE, {}),  # as in trainings from before there were bounds, which must resume
        (UPRIGHT, {"turn": 15.0}),
        (PORTRAIT, {"turn": 15.0, "half": [0.3, 0.4], "mirrored": False}),
    ],
)
def test_bounds_are_facts_where_there_are_any(bounds, facts):
    found = builtin.procedural_facts(Pictures(3, 7, 16, bounds))
    assert found == json.loads(json.dumps(found)) == {"procedural_seed": 3, "pictures": 7, "size": 16} | facts


def test_a_training_on_bounded_pictures_resumes_on_the_same_alone(tmp_path):
    words = ["train-tokenizer", "procedural", "--out", tmp_path, "--size", 16, "--count", 8, "--steps", 2, "--batch", 2]
    words += ["--channels", 4, "--multipliers", 1, 2, "--codebook-size", 8, "--z-channels", 8, "--norm-groups", 2]
    words += ["--warmup", 1, "--device", "cpu", "--turn", 15, "--one-way"]
    randar(*words, "--extent", 0.6, 0.8)
    setting = run_state.load(tmp_path / "checkpoint.pt").setting
    assert setting["pictures"] == builtin.procedural_facts(Pictures(0, 8, 16, PORTRAIT))
    randar(*words, "--extent", 0.6, 0.8, "--resume")
    with pytest.raises(ValueError, match="half"):
        randar(*words, "--extent", 0.5, 0.8, "--resume")


def test_better_pixels_of_the_same_codes(tmp_path):
    from randar_core.checkpoints.model import load_tokenizer

    short = ("--batch", 2, "--device", "cpu", "--size", 16, "--count", 12, "--rate", 0.01, "--warmup", 1)
    small = ("--channels", 4, "--multipliers", 1, 2, "--codebook-size", 8, "--z-channels", 8, "--norm-groups", 2)
    randar("train-tokenizer", "procedural", "--out", tmp_path / "t", *short, *small, "--steps", 3)
    first = tmp_path / "t" / trainings.TOKENIZER_FILE
    randar("train-tokenizer", "procedural", "--out", tmp_path / "p", *short, "--steps", 60, "--pixels-of", first)
    before, after = load_tokenizer(first), load_tokenizer(tmp_path / "p" / trainings.TOKENIZER_FILE)
    for name, weights in before.state_dict().items():
        fixed = name.startswith(("encoder.", "quant_conv.", "quantize."))
        assert torch.equal(weights, after.state_dict()[name]) == fixed, name
    pixels = torch.stack([torch.from_numpy(Pictures(0, 12, 16)[i][0]) for i in range(3)]).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        ids = before.encode(pixels)
        assert torch.equal(ids, after.encode(pixels))
        errors = [F.mse_loss(each.decode(ids), pixels).item() for each in (before, after)]
        assert errors[1] < 0.9 * errors[0]
    with pytest.raises(ValueError, match="leave out --channels, --codebook-size"):
        randar("train-tokenizer", "procedural", "--pixels-of", first, *small[:2], "--codebook-size", 8)
    changes = ("--decoder-multipliers", 1, 4, "--margin", 0, "--steps", 2)
    randar("train-tokenizer", "procedural", "--out", tmp_path / "w", *short, *changes, "--pixels-of", first)
    wide = load_tokenizer(tmp_path / "w" / trainings.TOKENIZER_FILE)
    assert before.config.margin == after.config.margin == 1
    assert wide.config == replace(before.config, decoder_multipliers=(1, 4), margin=0)
    assert torch.equal(wide.encode(pixels), ids)
    with pytest.raises(ValueError, match="begun with other settings"):
        randar(
            "train-tokenizer", "procedural", "--out", tmp_path / "p", *short, "--steps", 60, "--resume",
            "--pixels-of", tmp_path / "p" / trainings.TOKENIZER_FILE, "--seed", 1,
        )  # fmt: skip


def test_a_wider_half_for_pixels_begins_with_what_the_narrower_makes():
    narrow = LlamaGenTokenizer(TOKENIZER).double()
    wide = LlamaGenTokenizer(replace(TOKENIZER, decoder_multipliers=(2, 6))).double()
    widen(wide, narrow, seed=0)
    ids = torch.randint(TOKENIZER.codebook_size, (2, 5, 3), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(wide.decode(ids), narrow.decode(ids), rtol=1e-5, atol=1e-6)
    # Weights of a file are of fewer bits; what sums up to one isn't rounded to them.
    few_bits = LlamaGenTokenizer(TOKENIZER).bfloat16()
    grown = LlamaGenTokenizer(replace(TOKENIZER, decoder_multipliers=(2, 6)))
    widen(grown, few_bits, seed=0)
    with torch.no_grad():
        torch.testing.assert_close(grown.decode(ids), few_bits.float().decode(ids), rtol=1e-4, atol=1e-5)
    # Copies that read the same and are read alike would stay copies for ever.
    wide.decode_vectors(wide.vectors(ids).double()).square().mean().backward()
    gradient = wide.decoder.mid[0].conv1.weight.grad.view(-1, 3, *wide.decoder.mid[0].conv1.weight.shape[1:])
    assert not torch.allclose(gradient[:, 0], gradient[:, 1], rtol=1e-3)


def test_a_half_for_pixels_grows_by_whole_times():
    narrow = LlamaGenTokenizer(replace(TOKENIZER, decoder_multipliers=(2, 4)))
    with pytest.raises(ValueError, match="can't grow from .* to .*: each level must"):
        widen(LlamaGenTokenizer(replace(TOKENIZER, decoder_multipliers=(3, 4))), narrow, seed=0)
    with pytest.raises(ValueError, match=r"from the widths \[8, 16\] to \[16, 16\]: neighbouring levels"):
        widen(LlamaGenTokenizer(replace(TOKENIZER, decoder_multipliers=(4, 4))), narrow, seed=0)


def test_the_border_of_a_picture_weighs_more():
    weights = border_weights(10, 12, border=2, times=4)
    assert weights.mean() == pytest.approx(1) and weights[0, 5] / weights[5, 5] == pytest.approx(4)
    assert torch.equal(weights, weights.flip(0)) and torch.equal(weights, weights.flip(1))
    pixels = torch.zeros(1, 3, 16, 16)
    inside, outside = pixels.clone(), pixels.clone()
    inside[..., 4:8, 6:10], outside[..., :4, 6:10] = 0.5, 0.5
    lighter, heavier = (
        [reconstruction(each, pixels, 0.0, weights).item() for each in (inside, outside)]
        for weights in (None, border_weights(16, 16, 3, 4.0))
    )
    assert lighter[0] == pytest.approx(lighter[1], rel=1e-5)
    assert heavier[0] < lighter[0] and heavier[1] > lighter[1]
    # Every side alike, steps between pixels too.
    error = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    turned = [reconstruction(each, pixels, 1.0, border_weights(16, 16, 3, 4.0)) for each in (error, error.flip(2, 3))]
    torch.testing.assert_close(*turned)


def test_pixels_are_learnt_of_the_codes_that_came_in_exchange():
    torch.manual_seed(0)
    objectives = [PixelsObjective(LlamaGenTokenizer(TOKENIZER), PixelsRecipe(border=border)) for border in (1.0, 4.0)]
    objectives[1].model.load_state_dict(objectives[0].model.state_dict())
    model, pixels = objectives[0].model, torch.rand(2, 3, 16, 16)
    ids = model.encode(pixels)
    ranks = torch.zeros_like(ids)
    ranks[:, 0, 0] = 2
    drawn = objectives[0].ranked[ids, ranks]
    assert (drawn != ids).sum() == 2
    batch = {"pixels": pixels, "ranks": ranks}
    with torch.no_grad():
        losses = [objective(batch, 0)[0] for objective in objectives]
        torch.testing.assert_close(losses[0], reconstruction(model.decode(drawn), pixels, 1.0))
        torch.testing.assert_close(
            objectives[0](batch | {"ranks": 0 * ranks}, 0)[0], reconstruction(model.decode(ids), pixels, 1.0)
        )
    assert losses[1] != losses[0]


def test_exchanged_codes_are_near_ones_and_depend_on_the_sample_alone():
    torch.manual_seed(0)
    objective = PixelsObjective(LlamaGenTokenizer(TOKENIZER), PixelsRecipe(exchanged=0.5))
    codes = objective.model.quantize.rows(torch.arange(TOKENIZER.codebook_size))
    assert torch.equal(objective.ranked[:, 0], torch.arange(TOKENIZER.codebook_size))
    distances = (codes[objective.ranked] - codes[:, None]).norm(dim=-1)
    assert (distances.diff(dim=1) >= -1e-5).all()
    pictures = PixelSamples(Pictures(0, 10, size=64), 0)
    samples, again = (ExchangedSamples(pictures, 8, 0.5, nearest=5, unchanged_every=4) for _ in range(2))
    shares, counts = [], torch.zeros(6)
    for number in (7, 3, 12, 0, *range(20, 40)):
        ranks = samples[number]["ranks"]
        assert ranks.shape == (8, 8) and 0 <= ranks.min() and ranks.max() <= 5
        assert torch.equal(ranks, again[number]["ranks"])
        assert number % 4 or not ranks.any()
        counts += torch.bincount(ranks.flatten(), minlength=6)
        shares.append((ranks > 0).float().mean().item())
    assert counts[1] > counts[2:].max()
    assert 0.1 < max(shares) < 0.7
    assert not ExchangedSamples(pictures, 8, 0.0, nearest=5, unchanged_every=4)[7]["ranks"].any()


def test_a_size_that_tokens_do_not_divide_is_refused(pictures, tmp_path):
    with pytest.raises(ValueError, match="--size 15 is no multiple of 8"):
        randar("train-tokenizer", pictures, "--out", tmp_path / "t", "--size", 15)


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (5, 5, 1), (13, 12, 1), (30, 12, 2)])
def test_what_came_back_stands_below_the_picture(count, columns, rows, tmp_path):
    pictures = Pictures(0, count, size=16)
    trainings._reconstructions(LlamaGenTokenizer(TOKENIZER), pictures, tmp_path, CPU)(7)
    sheet = np.array(Image.open(tmp_path / "samples-000007.png"))
    assert sheet.shape == (4 + 20 * 2 * rows, 4 + 20 * columns, 3)
    for index in range(rows * columns):
        row, column = divmod(index, columns)
        top, left = 4 + 20 * 2 * row, 4 + 20 * column
        assert np.array_equal(sheet[top : top + 16, left : left + 16], pictures[index][0])
        assert not np.array_equal(sheet[top + 20 : top + 36, left : left + 16], pictures[index][0])


def test_tokens_keep_their_labels():
    tokens = TokenSet(torch.zeros(2, 4, dtype=torch.int32), torch.tensor([1, 0]), {})
    samples = TokenSamples(tokens.ids, tokens.labels, null_class=2, seed=0, class_dropout=0.0)
    assert sorted(int(samples[number]["classes"]) for number in range(2)) == [0, 1]


# --- the recipe of the built-in model ---------------------------------------------------------------------------------


def test_the_recipe_goes_on_where_it_was_killed(tmp_path, monkeypatch):
    small = {"steps": 4, "batch": 2, "warmup": 1}
    pictures = replace(builtin.TOKENIZER_PICTURES, count=8, size=16)
    network = replace(DECODER, classes=len(builtin.CLASSES), codebook_size=8, grid=8)
    for name, value in {
        "TOKENIZER_PICTURES": pictures,
        "TOKENIZER": TOKENIZER,
        "TOKENIZER_LOOP": replace(builtin.TOKENIZER_LOOP, **small),
        "PIXELS_ROUNDS": tuple(
            replace(each, pictures=replace(each.pictures, count=8, size=16), loop=replace(each.loop, **small), **grown)
            for each, grown in zip(builtin.PIXELS_ROUNDS, ({}, {"decoder_multipliers": (2, 4)}), strict=True)
        ),
        "DECODER": network,
        "DECODER_ROUNDS": tuple(
            replace(
                each,
                pictures=replace(each.pictures, count=8, size=16),
                loop=replace(each.loop, **small),
                layers=each.layers and 2,
            )
            for each in builtin.DECODER_ROUNDS
        ),
        "DEFAULTS": replace(builtin.DEFAULTS, steps=3),
        "TokenizerRecipe": lambda: TokenizerRecipe(free_steps=2),
    }.items():
        monkeypatch.setattr(builtin, name, value)
    whole = builtin.train_builtin(tmp_path / "whole", CPU)

    saved = run_state.save
    seen = []

    def kill_with_the_decoder(state, path):
        seen.append(path.parent.name)
        if path.parent.name == "decoder-2" and seen.count("decoder-2") == 1:
            raise KeyboardInterrupt
        saved(state, path)

    monkeypatch.setattr(run_state, "save", kill_with_the_decoder)
    with pytest.raises(KeyboardInterrupt):
        builtin.train_builtin(tmp_path / "killed", CPU)
    again = builtin.train_builtin(tmp_path / "killed", CPU, resume=True)
    assert seen.count("tokenizer") == seen.count("decoder-1") == 1
    setting = run_state.load(tmp_path / "killed" / "decoder-2" / "checkpoint.pt").setting
    first = load_model(tmp_path / "killed" / "decoder-1" / trainings.MODEL_FILE).transformer
    assert setting["start"] == trainings.hash_of(first.state_dict())
    assert setting["tokens"]["turn"] == UPRIGHT.turn
    last = run_state.load(tmp_path / "killed" / "decoder-5" / "checkpoint.pt").setting
    assert last["tokens"].items() >= {"turn": 15.0, "half": [0.3, 0.4], "mirrored": False}.items()
    assert dict(zip(builtin.CLASSES, last["oversample"], strict=True)) == dict.fromkeys(builtin.CLASSES, 1) | {
        "fish": 2,
        "house": 2,
    }
    assert load_model(again).transformer.config.layers == 2
    weights, expected = load_file(again), load_file(whole)
    assert weights.keys() == expected.keys() and all(torch.equal(weights[key], expected[key]) for key in expected)
    assert load_model(again).tokenizer.config == replace(TOKENIZER, decoder_multipliers=(2, 4), margin=1)
