"""`randar train-tokenizer --pixels-of`: a better decoder for the ids of a trained tokenizer."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tiny_cli import randar
from tiny_trainings import SMALL
from torch import Tensor

from randar_core.checkpoints.model import load_tokenizer
from randar_core.procedural.render import Pictures
from randar_core.training import train as trainings

TRAIN = ("train-tokenizer", "procedural-shapes", "--size", 16, "--count", 12, "--batch", 2, "--device", "cpu")
LEARN = ("--rate", 0.01, "--warmup", 1)


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> Path:
    """A tokenizer after three steps."""
    folder = tmp_path_factory.mktemp("first")
    randar(*TRAIN, *LEARN, *SMALL, "--steps", 3, "--out", folder)
    return folder / trainings.TOKENIZER_FILE


@pytest.fixture(scope="module")
def better(first, tmp_path_factory) -> Path:
    """The same with a decoder that learnt for another sixty."""
    folder = tmp_path_factory.mktemp("better")
    randar(*TRAIN, *LEARN, "--steps", 60, "--pixels-of", first, "--out", folder)
    return folder / trainings.TOKENIZER_FILE


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    return torch.stack([torch.from_numpy(Pictures(0, 12, 16)[i][0]) for i in range(3)]).permute(0, 3, 1, 2) / 255


def test_the_decoder_alone_changes(first, better):
    after = load_tokenizer(better).state_dict()
    for name, weights in load_tokenizer(first).state_dict().items():
        fixed = name.startswith(("encoder.", "quant_conv.", "quantize."))
        assert torch.equal(weights, after[name]) == fixed, name


@torch.no_grad()
def test_pixels_get_better_and_ids_stay(first, better, pixels):
    before, after = load_tokenizer(first), load_tokenizer(better)
    ids = before.encode(pixels)
    assert torch.equal(ids, after.encode(pixels))
    errors = [F.mse_loss(tokenizer.decode(ids), pixels).item() for tokenizer in (before, after)]
    assert errors[1] < 0.9 * errors[0]


def test_a_decoder_grows_and_gets_another_margin(first, pixels, tmp_path):
    changes = ("--decoder-multipliers", 1, 4, "--margin", 0)
    randar(*TRAIN, *LEARN, "--steps", 2, "--pixels-of", first, *changes, "--out", tmp_path)
    before, wide = load_tokenizer(first), load_tokenizer(tmp_path / trainings.TOKENIZER_FILE)
    assert before.config.margin == 1
    assert wide.config == replace(before.config, decoder_multipliers=(1, 4), margin=0)
    with torch.no_grad():
        assert torch.equal(wide.encode(pixels), before.encode(pixels))


def test_the_rest_of_the_network_is_not_to_be_named(first, tmp_path):
    with pytest.raises(ValueError, match="leave out --channels, --codebook-size"):
        randar(*TRAIN, "--pixels-of", first, "--channels", 4, "--codebook-size", 8, "--out", tmp_path)


def test_another_start_is_noticed_at_a_resume(better):
    words = (*TRAIN, *LEARN, "--steps", 60, "--out", better.parent, "--resume", "--seed", 1)
    with pytest.raises(ValueError, match="begun with other settings"):
        randar(*words, "--pixels-of", better)


def test_a_discriminator_is_for_a_trained_tokenizer(first, tmp_path):
    randar(*TRAIN, *LEARN, "--steps", 2, "--pixels-of", first, "--adversarial", 0.5, "--out", tmp_path / "sharp")
    assert "discriminator" in (tmp_path / "sharp" / "log.csv").read_text().splitlines()[0]
    saved = load_tokenizer(tmp_path / "sharp" / trainings.TOKENIZER_FILE).state_dict()
    assert saved.keys() == load_tokenizer(first).state_dict().keys()
    with pytest.raises(ValueError, match="--pixels-of"):
        randar(*TRAIN, *LEARN, *SMALL, "--steps", 2, "--adversarial", 0.5, "--out", tmp_path / "new")
