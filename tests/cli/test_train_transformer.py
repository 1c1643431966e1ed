"""`randar train` with a trained tokenizer: what it refuses, and models that begin with the weights of others."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny
import torch
from tiny_cli import randar
from tiny_pictures import class_folders, save_picture
from tiny_trainings import NETWORK, SHORT, SMALL

from randar_core.checkpoints.bundle import save_bundle
from randar_core.checkpoints.model import load_model
from randar_core.models.randar import RandAR
from randar_core.training import train as trainings

CLASSES = "cls_embedding.embedding_table.weight"
STILL = ("--rate", 0, "--weight-decay", 0)  # shows what a training begins with


@dataclass(frozen=True)
class Trained:
    """A tokenizer and a model of the classes "blue" and "red" that were trained on `pictures`."""

    pictures: Path
    tokenizer: Path
    model: Path

    def train(self, out: Path, *words: object, pictures: Path | None = None) -> RandAR:
        """The transformer of another training on the same tokenizer."""
        common = (pictures or self.pictures, "--tokenizer", self.tokenizer, *SHORT, "--sheet-steps", 3)
        randar("train", *common, "--out", out, *words)
        return load_model(out / trainings.MODEL_FILE).transformer


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Trained:
    folder = tmp_path_factory.mktemp("trained")
    pictures = class_folders(folder / "pictures")
    randar("train-tokenizer", pictures, "--out", folder / "t", *SHORT, *SMALL)
    found = Trained(pictures, folder / "t" / trainings.TOKENIZER_FILE, folder / "d" / trainings.MODEL_FILE)
    found.train(folder / "d", *NETWORK, "--steps", 4)
    return found


@pytest.fixture
def before(trained) -> dict[str, torch.Tensor]:
    """The weights of the trained model."""
    return load_model(trained.model).transformer.state_dict()


@pytest.mark.parametrize(
    ("words", "error", "match"),
    [
        (("--width", 16, "--heads", 3), ValueError, "can't have 3 heads"),
        ((*NETWORK, "--resume"), FileNotFoundError, "no checkpoint"),
    ],
)
def test_mistakes_are_refused_before_the_ids_are_made(trained, tmp_path, words, error, match):
    with pytest.raises(error, match=match):
        trained.train(tmp_path / "d", *words)
    assert not (tmp_path / "d" / "ids.safetensors").exists()


def test_a_guidance_that_is_not_a_number_is_refused(trained, tmp_path):
    with pytest.raises(SystemExit):
        trained.train(tmp_path / "d", *NETWORK, "--guidance", "nan")


def test_a_folder_with_a_training_is_refused_without_a_resume(trained):
    with pytest.raises(ValueError, match="holds a training already. Add --resume"):
        trained.train(trained.model.parent, *NETWORK)


def test_pictures_that_were_added_are_noticed_at_a_resume(trained, tmp_path):
    pictures = shutil.copytree(trained.pictures, tmp_path / "pictures")
    trained.train(tmp_path / "d", *NETWORK, pictures=pictures)
    save_picture(pictures / "red" / "more.png", 20, 20)
    with pytest.raises(ValueError, match=r"tokens\.pictures: 6 then, 7 now"):
        trained.train(tmp_path / "d", *NETWORK, "--resume", pictures=pictures)


def test_a_training_begins_with_the_weights_of_a_trained_model(trained, before, tmp_path):
    same = trained.train(tmp_path / "same", *STILL, "--start-from", trained.model)
    for name, weights in same.state_dict().items():
        torch.testing.assert_close(weights, before[name])


def test_classes_are_known_by_their_names_when_some_are_gone(trained, before, tmp_path):
    pictures = shutil.copytree(trained.pictures, tmp_path / "pictures")
    shutil.rmtree(pictures / "red")
    fewer = trained.train(tmp_path / "fewer", *STILL, "--start-from", trained.model, pictures=pictures)
    assert fewer.config.classes == 1
    after = fewer.state_dict()
    torch.testing.assert_close(after.pop(CLASSES), before[CLASSES][[0, 2]])  # "blue" and no class
    for name, weights in after.items():
        torch.testing.assert_close(weights, before[name])


def test_a_model_grows_by_layers_and_never_shrinks(trained, tmp_path):
    grown = trained.train(tmp_path / "grown", *STILL, "--start-from", trained.model, "--layers", 3)
    assert grown.config.layers == 3
    with pytest.raises(ValueError, match="has 3 layers, the one to be trained 2: ask for 3 or more"):
        large = tmp_path / "grown" / trainings.MODEL_FILE
        trained.train(tmp_path / "shrunk", "--start-from", large, "--layers", 2)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (NETWORK, "but for added layers; leave out --heads, --width"),
        (("--size", 8), "has grid 8, the one to be trained 4"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(trained, tmp_path, words, match):
    with pytest.raises(ValueError, match=match):
        trained.train(tmp_path / "d", "--start-from", trained.model, *words)


def test_a_start_with_the_ids_of_another_tokenizer_is_refused(trained, tmp_path):
    randar("train-tokenizer", trained.pictures, "--out", tmp_path / "t", *SHORT, *SMALL, "--seed", 1)
    with pytest.raises(ValueError, match="learnt the ids of another tokenizer"):
        other = ("--tokenizer", tmp_path / "t" / trainings.TOKENIZER_FILE)
        trained.train(tmp_path / "d", "--start-from", trained.model, *other)


def test_a_start_of_a_family_that_does_not_learn_here_is_refused(trained, tmp_path):
    save_bundle(tmp_path / "rar.safetensors", tiny.rar(codebook_size=8), tiny.tokenizer(codebook_size=8), tiny.NAMES)
    with pytest.raises(ValueError, match="of the family rar, which can't be trained here. There are: randar"):
        trained.train(tmp_path / "d", "--start-from", tmp_path / "rar.safetensors")


def test_a_start_is_noticed_at_a_resume(trained):
    with pytest.raises(ValueError, match="start: not set then"):
        trained.train(trained.model.parent, "--start-from", trained.model, "--steps", 4, "--resume")


@pytest.mark.parametrize(
    ("times", "match"),
    [
        (("Blue=2", "0=2"), "How often the class 'blue' comes is said twice"),
        (("blu=2",), "There is no class named 'blu'. Did you mean blue"),
    ],
)
def test_an_oversampling_that_makes_no_sense_is_refused(trained, tmp_path, times, match):
    with pytest.raises(ValueError, match=match):
        trained.train(tmp_path / "d", *NETWORK, "--oversample", *times)


def test_an_oversampling_is_noticed_at_a_resume(trained, tmp_path):
    trained.train(tmp_path / "d", *NETWORK, "--oversample", "blue=2")
    with pytest.raises(ValueError, match="oversample: "):
        trained.train(tmp_path / "d", *NETWORK, "--oversample", "blue=3", "--resume")
