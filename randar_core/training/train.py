"""The trainings from pictures to a file: a tokenizer, a transformer for the tokens it makes, a better decoder."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from ..checkpoints.bundle import save_bundle
from ..checkpoints.families import family_of
from ..checkpoints.model import Model
from ..checkpoints.releases import Defaults
from ..decoding.schedule import call_sizes
from ..io.images import contact_sheet, save_png
from ..models.family import TokenModel, TransformerConfig
from ..models.llamagen import LlamaGenConfig, LlamaGenTokenizer
from ..models.patches import PatchConfig
from ..models.tokenizer import Tokenizer
from ..runtime.distributed import is_rank_0
from .cpu_layers import layers_for
from .decoder_objective import DecoderObjective, DecoderRecipe
from .fingerprint import fingerprint, hash_of
from .net2wider import widen
from .optimizers import make_optimizers
from .samples import PixelSamples, Prefixes, TokenSamples, oversampling
from .seeded import seeded
from .settings import PictureSet, Run, facts_of
from .sheets import draw_samples, reconstruction_sheets, sheet_file
from .tokenizer_objective import TokenizerObjective, TokenizerRecipe
from .tokens import check_ids, encode_once
from .training_loop import check_start, train
from .transformer import initialise, objective_of
from .warm_start import WarmStart, begin_with

TokenizerConfig = LlamaGenConfig | PatchConfig
TOKENIZER_FILE, MODEL_FILE, SHEETS = "tokenizer.safetensors", "model.safetensors", "samples-*.png"


def train_tokenizer(
    pictures: PictureSet, config: LlamaGenConfig, recipe: TokenizerRecipe, run: Run
) -> LlamaGenTokenizer:
    """Train a new tokenizer and write `tokenizer.safetensors`. Raises as `loop.train` does."""
    tokenizer = new_tokenizer(config, run)
    facts = {"tokenizer": tokenizer_facts(config), "recipe": asdict(recipe), "pictures": pictures.facts}
    check_start(run, facts, (TOKENIZER_FILE, SHEETS))
    seed, folder = run.setting.seed, run.reporting.folder
    tokenizer = train(
        TokenizerObjective(tokenizer, recipe, run.setting.steps, seed),
        PixelSamples(pictures.pictures, seed),
        run,
        facts,
        reconstruction_sheets(tokenizer, pictures.pictures, folder, run.device),
    )
    if is_rank_0():
        save_bundle(folder / TOKENIZER_FILE, tokenizer=tokenizer)
    return tokenizer


def train_decoder(
    tokenizer: Tokenizer,
    pictures: PictureSet,
    recipe: DecoderRecipe,
    run: Run,
    decoder_multipliers: Sequence[int] | None = None,
    margin: int | None = None,
) -> Tokenizer:
    """A copy of `tokenizer` whose decoder makes better pixels of the same ids, see `DecoderObjective`.

    Transformers that learnt the ids stay valid. Writes `tokenizer.safetensors`. Raises as `widen` and `loop.train` do,
    and ValueError for a tokenizer that can't be trained, or for multipliers where its decoder can't be widened.

    tokenizer: a trained one; it stays as it is.
    pictures, recipe, run: what the decoder learns, and how.
    decoder_multipliers: make the decoder wider, see `widen`; None keeps its width.
    margin: gives it a margin, see `LlamaGenConfig`; None keeps the one it has.
    """
    if not tokenizer.learns:
        raise ValueError(f"A tokenizer of the family {family_of(tokenizer.config).name} can't be trained here.")
    grows = isinstance(tokenizer, LlamaGenTokenizer)
    if decoder_multipliers is not None and not grows:
        raise ValueError(
            f"The decoder of a tokenizer of the family {family_of(tokenizer.config).name} can't be widened; leave its "
            "multipliers out."
        )
    changes = {"decoder_multipliers": decoder_multipliers, "margin": margin}
    config = replace(tokenizer.config, **{name: value for name, value in changes.items() if value is not None})
    facts = {
        "tokenizer": tokenizer_facts(config),
        "recipe": facts_of(asdict(recipe), {"adversarial": 0.0}),
        "start": hash_of(tokenizer.state_dict()),
        "pictures": pictures.facts,
    }
    check_start(run, facts, (TOKENIZER_FILE, SHEETS))
    seed, folder = run.setting.seed, run.reporting.folder
    copy = new_tokenizer(config, run)
    if grows:
        widen(copy, tokenizer, seed)
    else:
        copy.load_state_dict(tokenizer.state_dict())
    with seeded(seed):
        objective = DecoderObjective(copy, recipe)
    samples = objective.samples(PixelSamples(pictures.pictures, seed))
    sheets = reconstruction_sheets(copy, pictures.pictures, folder, run.device)
    copy = train(objective, samples, run, facts, sheets)
    if is_rank_0():
        save_bundle(folder / TOKENIZER_FILE, tokenizer=copy)
    return copy


def tokenizer_facts(config: TokenizerConfig) -> dict[str, Any]:
    """What must be the same of a tokenizer when its training resumes."""
    return facts_of(asdict(config), {"decoder_multipliers": None, "margin": 0})


def new_tokenizer(config: TokenizerConfig, run: Run) -> Tokenizer:
    with seeded(run.setting.seed):
        tokenizer = family_of(config).network(config, operations=layers_for(run.device))
    return tokenizer.to(memory_format=torch.channels_last)


def train_transformer(
    pictures: PictureSet,
    tokenizer: Tokenizer,
    config: TransformerConfig,
    defaults: Defaults,
    run: Run,
    class_dropout: float = 0.1,
    prefixes: Prefixes | None = None,
    start: WarmStart | None = None,
    oversample: Iterable[tuple[str, int]] = (),
) -> TokenModel:
    """Train on the ids of `pictures` a new transformer, or one that begins with the weights of `start`.

    Writes the ids, see `encode_once`, and the bundle `model.safetensors`, a first one with every sheet. Raises as
    `loop.train`, `begin_with`, `oversampling` and `encode_once` do.

    pictures: the training set; its classes are the model's.
    tokenizer: a trained one, which makes the ids.
    config: of the transformer; its class says the family.
    defaults: how the model draws, its sheets included.
    run: how it learns, see `Run`.
    class_dropout: share of the samples without class.
    prefixes: see `Prefixes`; None for whole pictures.
    start: a model of the same family, see `begin_with`; None for weights from the seed.
    oversample: pictures of a class in it, by name or id, come that many times as often as others.
    """
    family = family_of(config)
    transformer = family.network(config)
    initialise(transformer, run.setting.seed)
    if start is not None:
        begin_with(transformer, pictures.class_names, start)
    token_facts = pictures.facts | {"tokenizer": fingerprint(tokenizer)}
    often = oversampling(oversample, pictures.class_names)
    facts = facts_of(
        {
            "decoder": asdict(config),
            "class_dropout": class_dropout,
            "tokens": token_facts,
            "family": family.name,
            "prefixes": None if prefixes is None else asdict(prefixes),
            "oversample": None if often is None else often.tolist(),
            "start": None if start is None else hash_of(start.transformer.state_dict()),
        },
        {"family": "randar", "prefixes": None, "oversample": None, "start": None},
    )
    # What can be refused is refused before the ids are made, which may take long.
    check_start(run, facts, (MODEL_FILE, SHEETS))
    folder, seed = run.reporting.folder, run.setting.seed
    check_ids(folder, token_facts, run.reporting.overwrite)
    make_optimizers(transformer, run.setting)
    model = Model(folder.name, pictures.class_names, defaults, transformer, tokenizer)
    model.guidance()
    call_sizes(config.grid**2, defaults.steps, schedule=transformer.traits.schedule)
    tokens = encode_once(tokenizer, replace(pictures, facts=token_facts), run)
    tokenizer = tokenizer.to(run.device).eval()

    def sheet(step: int) -> None:
        classes = list(range(min(12, config.classes))) * 2
        pixels = draw_samples(model, classes, seed, run.device)
        save_png(sheet_file(folder, step), contact_sheet(pixels, len(classes) // 2))
        write(folder / MODEL_FILE)

    def write(path: Path) -> None:
        save_bundle(path, transformer, tokenizer, pictures.class_names, defaults, model.name)

    samples = TokenSamples(
        tokens.ids,
        tokens.labels,
        transformer.null_class,
        seed,
        class_dropout,
        prefixes,
        run.setting.batch,
        often,
    )
    transformer = train(objective_of(transformer, seed), samples, run, facts, sheet)
    if is_rank_0():
        write(folder / MODEL_FILE)
    return transformer
