"""Trainings of a few steps, for the tests of training and for the processes that some of them start."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from randar_core.models.llamagen import LlamaGenConfig, LlamaGenTokenizer
from randar_core.models.randar import RandAR, RandARConfig
from randar_core.procedural.render import Pictures
from randar_core.training.decoder_objective import DecoderObjective, DecoderRecipe
from randar_core.training.samples import PixelSamples, TokenSamples
from randar_core.training.settings import LoopSetting, PictureSet, Reporting, Run
from randar_core.training.tokenizer_objective import TokenizerObjective, TokenizerRecipe
from randar_core.training.tokens import TokenSet, encode_pictures
from randar_core.training.training_loop import train
from randar_core.training.transformer import TransformerObjective, initialise

CPU = torch.device("cpu")
SETTING = LoopSetting(steps=8, batch=4, learning_rate=1e-2, warmup=2, average=0.9)
TRANSFORMER = RandARConfig(width=32, layers=1, heads=2, codebook_size=16, classes=3, grid=3)
TOKENIZER = LlamaGenConfig(4, (1, 2), 1, 8, 4, 8, 2)

# On the command line: a tiny tokenizer, a tiny transformer, and as short a training as there is.
SMALL = ("--channels", 4, "--multipliers", 1, 2, "--codebook-size", 8, "--z-channels", 8, "--norm-groups", 2)
NETWORK = ("--width", 16, "--layers", 1, "--heads", 2)
SHORT = ("--batch", 2, "--device", "cpu", "--size", 16, "--steps", 1)


def run_in(folder: Path, setting: LoopSetting = SETTING, resume: bool = False, **reporting) -> Run:
    folder.mkdir(exist_ok=True)
    often = {"log_every": 1, "save_every": 3, "sample_every": 1}
    return Run(setting, Reporting(folder, **often | reporting), CPU, resume)


def transformer_run(
    folder: Path, setting=SETTING, resume=False, on_sample=None, config=TRANSFORMER, **reporting
) -> RandAR:
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(config.codebook_size, (10, config.grid**2), generator=generator)
    transformer = RandAR(config)
    initialise(transformer, setting.seed)
    samples = TokenSamples(ids, torch.arange(10) % config.classes, transformer.null_class, setting.seed)
    run = run_in(folder, setting, resume, **reporting)
    return train(TransformerObjective(transformer), samples, run, {"decoder": vars(config)}, on_sample)


def muon_run(folder: Path, resume=False, on_sample=None) -> RandAR:
    return transformer_run(folder, replace(SETTING, optimizer="muon"), resume, on_sample)


def tokenizer_run(folder: Path, resume=False, on_sample=None, log_every=1) -> LlamaGenTokenizer:
    torch.manual_seed(0)
    recipe = TokenizerRecipe(free_steps=2, revive_every=2)
    objective = TokenizerObjective(LlamaGenTokenizer(TOKENIZER), recipe, 8, seed=0)
    samples = PixelSamples(Pictures(0, 10, size=16), seed=0)
    return train(objective, samples, run_in(folder, resume=resume, log_every=log_every), {}, on_sample)


def decoder_run(folder: Path, resume=False, on_sample=None, adversarial=0.0) -> LlamaGenTokenizer:
    torch.manual_seed(0)
    objective = DecoderObjective(LlamaGenTokenizer(TOKENIZER), DecoderRecipe(adversarial=adversarial))
    samples = objective.samples(PixelSamples(Pictures(0, 10, size=16), 0))
    return train(objective, samples, run_in(folder, resume=resume), {}, on_sample)


def adversarial_run(folder: Path, resume=False, on_sample=None) -> LlamaGenTokenizer:
    return decoder_run(folder, resume, on_sample, adversarial=0.5)


def tiny_pictures(count: int, facts: dict | None = None) -> PictureSet:
    return PictureSet(Pictures(0, count, size=16), facts or {}, ("a", "b", "c"))


def some_ids(facts: dict) -> TokenSet:
    torch.manual_seed(0)
    return encode_pictures(LlamaGenTokenizer(TOKENIZER), tiny_pictures(7, facts), CPU, batch=2)


def losses(folder: Path) -> list[float]:
    with (folder / "log.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def kill_at(step: int) -> Callable[[int], None]:
    def on_sample(done: int) -> None:
        if done == step:
            raise KeyboardInterrupt

    return on_sample
