"""`randar train-tokenizer`, `randar train`, `randar train-builtin`: models of one's own, and the built-in one."""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from ..checkpoints.build import build
from ..checkpoints.families import family_of
from ..checkpoints.locate import locate
from ..checkpoints.model import load_tokenizer, open_model
from ..checkpoints.releases import Defaults
from ..models.llamagen import LlamaGenConfig
from ..models.tokenizer import Tokenizer
from ..procedural.landscape.pictures import Landscapes
from ..procedural.render import Pictures
from ..procedural.scene import FREE, Bounds
from ..runtime.distributed import broadcast_from_rank_0, distributed, is_rank_0
from ..training.builtin import train_builtin
from ..training.decoder_objective import DecoderRecipe
from ..training.fingerprint import makes_same_ids
from ..training.folder import Folder, open_folder
from ..training.samples import Prefixes
from ..training.settings import LoopSetting, PictureSet, Reporting, Run
from ..training.tokenizer_objective import TokenizerRecipe
from ..training.train import train_decoder, train_tokenizer, train_transformer
from ..training.transformer import TRAINABLE
from ..training.warm_start import WarmStart
from .from_arguments import device_of
from .outputs import check_free, folder_to_write, locked
from .train_options import (
    FAMILY,
    MULTIPLIERS,
    PROCEDURAL,
    PROCEDURAL_PICTURES,
    SHAPES,
    TOKENIZER_NETWORK,
    TRANSFORMER_NETWORK,
    WHOLE_EVERY,
    add_builtin_options,
    add_tokenizer_options,
    add_transformer_options,
)

LOCK = ".training.lock"  # in the folder of a training


def add_train_tokenizer(parser: argparse.ArgumentParser) -> None:
    add_tokenizer_options(parser)
    parser.set_defaults(run=run_train_tokenizer)


def add_train(parser: argparse.ArgumentParser) -> None:
    add_transformer_options(parser)
    parser.set_defaults(run=run_train)


def add_train_builtin(parser: argparse.ArgumentParser) -> None:
    add_builtin_options(parser)
    parser.set_defaults(run=run_train_builtin)


def locked_folder(folder: Path):
    """Within it, no other training writes to `folder`."""
    return locked(folder / LOCK, f"the folder '{folder}'")


def run_train_tokenizer(arguments: argparse.Namespace) -> None:
    with distributed(device_of(arguments.device)) as device:
        if arguments.pixels_of is None:
            if arguments.adversarial:
                raise ValueError("--adversarial is for the decoder of a trained tokenizer: name that by --pixels-of.")
            trained, config = None, new_config(arguments)
        else:
            trained = trained_tokenizer(arguments, device)
            config = trained.config
        check_size(arguments.size, config.factor)
        with locked_folder(folder_to_write(arguments.out)):
            pictures, run = pictures_of(arguments), run_of(arguments, device)
            if trained is None:
                # A short training, as one to try things out, needs its codebook early too.
                recipe = TokenizerRecipe()
                recipe = replace(recipe, free_steps=max(1, min(recipe.free_steps, arguments.steps // 4)))
                train_tokenizer(pictures, config, recipe, run)
            else:
                growth = arguments.decoder_multipliers, arguments.margin
                train_decoder(trained, pictures, DecoderRecipe(adversarial=arguments.adversarial), run, *growth)


def new_config(arguments: argparse.Namespace) -> LlamaGenConfig:
    return LlamaGenConfig(
        **{**TOKENIZER_NETWORK, "multipliers": MULTIPLIERS} | network_of(arguments),
        decoder_multipliers=arguments.decoder_multipliers,
        margin=1 if arguments.margin is None else arguments.margin,
    )


def network_of(arguments: argparse.Namespace) -> dict:
    """The fields of a tokenizer's configuration that the options name."""
    names = (*TOKENIZER_NETWORK, "multipliers")
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}


def trained_tokenizer(arguments: argparse.Namespace, device: torch.device) -> Tokenizer:
    """The tokenizer of --pixels-of. ValueError for one of another kind, and for options that would change it."""
    if fields := network_of(arguments):
        named = ", ".join(f"--{name.replace('_', '-')}" for name in fields)
        raise ValueError(
            f"--pixels-of keeps the network as it is, but for --decoder-multipliers and --margin; leave out {named}."
        )
    trained = load_tokenizer(locate(arguments.pixels_of), device)
    if not trained.learns:
        raise ValueError(f"'{arguments.pixels_of}' is of another kind than the tokenizers trained here.")
    return trained


def run_train(arguments: argparse.Namespace) -> None:
    if arguments.whole_every is not None and arguments.first_cells is None:
        raise ValueError("--whole-every goes with --first-cells; all batches hold whole pictures without it.")
    folder = folder_to_write(arguments.out)
    with distributed(device_of(arguments.device)) as device, locked_folder(folder):
        tokenizer = load_tokenizer(locate(arguments.tokenizer), device)
        check_size(arguments.size, tokenizer.factor)
        pictures = pictures_of(arguments)
        family, names = TRAINABLE[arguments.family or FAMILY], TRANSFORMER_NETWORK
        network = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
        start = None
        if arguments.start_from is not None:
            if fixed := network.keys() - {"layers"}:
                raise ValueError(
                    f"--start-from keeps the network as it is but for added layers; leave out "
                    f"--{', --'.join(sorted(fixed))}."
                )
            start = warm_start(arguments, tokenizer, device)
            family = family_of(start.transformer.config)
            network = {name: getattr(start.transformer.config, name) for name in names} | network
        config = family.config(
            **TRANSFORMER_NETWORK | network,
            codebook_size=tokenizer.codebook_size,
            classes=len(pictures.class_names),
            grid=arguments.size // tokenizer.factor,
        )
        traits = family.network.traits
        defaults = Defaults(arguments.guidance, steps=arguments.sheet_steps or traits.steps, order=traits.order)
        prefixes = None
        if arguments.first_cells:
            prefixes = Prefixes(arguments.first_cells, arguments.whole_every or WHOLE_EVERY)
        train_transformer(
            pictures,
            tokenizer,
            config,
            defaults,
            run_of(arguments, device, arguments.optimizer),
            arguments.class_dropout,
            prefixes,
            start,
            arguments.oversample,
        )


def warm_start(arguments: argparse.Namespace, tokenizer: Tokenizer, device: torch.device) -> WarmStart:
    """The trained transformer that --start-from names.

    ValueError unless its family learns here and is that of --family, and it learnt the ids of `tokenizer`.
    """
    opened = open_model(arguments.start_from, arguments.tokenizer)
    model = opened.build(device, torch.float32)
    found = family_of(model.transformer.config)
    if found.name not in TRAINABLE:
        raise ValueError(
            f"'{arguments.start_from}' is a model of the family {found.name}, which can't be trained here. There are: "
            f"{', '.join(TRAINABLE)}."
        )
    if arguments.family not in (None, found.name):
        raise ValueError(
            f"'{arguments.start_from}' is a model of the family {found.name}, not {arguments.family}: leave --family "
            "out."
        )
    bundled = opened.bundled_tokenizer
    if bundled is not None and not makes_same_ids(build(bundled, device), tokenizer):
        raise ValueError(
            f"'{arguments.start_from}' learnt the ids of another tokenizer than '{arguments.tokenizer}', where they "
            f"mean other things. Its own one is in the same file: --tokenizer {arguments.start_from}"
        )
    return WarmStart(model.transformer, model.class_names)


def run_train_builtin(arguments: argparse.Namespace) -> None:
    folder = folder_to_write(arguments.out)
    if not arguments.resume:
        check_free(folder / "builtin.safetensors", arguments.force)
    with distributed(device_of(arguments.device)) as device, locked_folder(folder):
        print(train_builtin(folder, device, arguments.resume, arguments.workers, arguments.force))


def check_size(size: int, factor: int) -> None:
    if size % factor:
        raise ValueError(f"--size {size} isn't a multiple of {factor}, the pixels along a side of a token.")


OF_ONE_SET = {"turn": SHAPES, "extent": SHAPES, "one-way": SHAPES, "views": PROCEDURAL, "foreign-scenes": PROCEDURAL}
"""The options of pictures that one drawn set alone has."""


def pictures_of(arguments: argparse.Namespace) -> PictureSet:
    """The pictures that the options name."""
    count = arguments.count or PROCEDURAL_PICTURES
    for name, drawn in OF_ONE_SET.items():
        if getattr(arguments, name.replace("-", "_")) is not None and arguments.pictures != drawn:
            raise ValueError(f"--{name} is for '{drawn}', not for '{arguments.pictures}'. Leave it out.")
    if arguments.pictures == SHAPES:
        turn = FREE.turn if arguments.turn is None else min(arguments.turn, FREE.turn)
        half = FREE.half if arguments.extent is None else tuple(extent / 2 for extent in arguments.extent)
        return PictureSet.of(Pictures(arguments.seed, count, arguments.size, Bounds(turn, half, not arguments.one_way)))
    if arguments.pictures == PROCEDURAL:
        shares = {"views": arguments.views or 0.0, "foreign_scenes": arguments.foreign_scenes or 0.0}
        return PictureSet.of(Landscapes(arguments.seed, count, arguments.size, **shares))
    if arguments.count is not None:
        raise ValueError(f"--count is for '{PROCEDURAL}' and '{SHAPES}'; a folder is taken as it is. Leave it out.")
    # Every picture is read here: once for all processes, which must not differ in what they saw.
    folder = broadcast_from_rank_0(lambda: open_folder(Path(arguments.pictures), arguments.size))
    if is_rank_0():
        report(folder)
    return PictureSet.of(folder)


def report(folder: Folder) -> None:
    print(f"{len(folder):,} pictures in {len(folder.classes)} classes: {', '.join(folder.classes[:20])}")
    for line in folder.left_out.lines():
        print(line)
    if folder.left_out:
        print(f"Left out in all: {len(folder.left_out):,}.", flush=True)
    if len(folder.classes) == 1:
        print("There is one class only: guidance will have nothing to choose between.")


def run_of(arguments: argparse.Namespace, device: torch.device, optimizer: str = "adamw") -> Run:
    setting = LoopSetting(
        steps=arguments.steps,
        batch=arguments.batch,
        learning_rate=arguments.rate,
        warmup=arguments.warmup,
        weight_decay=arguments.weight_decay,
        clip=arguments.clip,
        average=arguments.average,
        seed=arguments.seed,
        optimizer=optimizer,
    )
    reporting = Reporting(
        arguments.out,
        save_every=arguments.save_every,
        sample_every=arguments.sample_every,
        workers=arguments.workers,
        overwrite=arguments.force,
    )
    return Run(setting, reporting, device, arguments.resume)
