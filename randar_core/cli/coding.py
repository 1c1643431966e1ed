"""`randar encode` and `randar decode`: pictures to token ids and back."""

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from ..checkpoints.build import build
from ..checkpoints.locate import locate
from ..checkpoints.model import load_tokenizer, open_model
from ..io.atomic import atomic_write
from ..io.images import read_pixels, save_png
from ..io.writable import reason_of, writable_folder
from . import arguments as options
from .from_arguments import device_of
from .outputs import check_free, picture_to_write

CODE_LIMIT = 2**31  # ids are far below it


def add_encode(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("picture", type=Path)
    parser.add_argument("--out", type=Path, help="the .json to write (default: the picture's name)")
    options.add_force(parser)
    options.add_device(options.add_files(parser))
    parser.set_defaults(run=encode)


def add_decode(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", type=Path, help="a .json that `randar encode` wrote")
    parser.add_argument("--out", type=Path, help="the .png to write (default: the ids' name)")
    options.add_force(parser)
    options.add_device(options.add_files(parser))
    parser.set_defaults(run=decode)


def tokenizer_of(arguments: argparse.Namespace) -> tuple[nn.Module, torch.device]:
    """The tokenizer that the options name, a file of its own or that of the model, and its device."""
    device = device_of(arguments.device)
    # Rounded weights would give other ids: float32 unless asked otherwise.
    dtype = getattr(torch, "float32" if arguments.dtype == "auto" else arguments.dtype)
    if arguments.tokenizer:
        return load_tokenizer(locate(arguments.tokenizer), device, dtype), device
    return build(open_model(arguments.model).tokenizer, device, dtype), device


def encode(arguments: argparse.Namespace) -> None:
    out = arguments.out or arguments.picture.with_suffix(".json")
    if out.suffix.lower() != ".json":
        raise ValueError(f"Ids are written as JSON; '{out.name}' doesn't end in .json. Name another.")
    pixels = read_pixels(arguments.picture)
    writable_folder(out.parent)
    check_free(out, arguments.force)
    tokenizer, device = tokenizer_of(arguments)
    with torch.inference_mode():
        ids = tokenizer.encode(pixels.to(device))[0]
    text = json.dumps({"codebook_size": tokenizer.codebook_size, "ids": ids.tolist()})
    try:
        with atomic_write(out) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OSError(f"'{out}' can't be written{reason_of(error)}") from error
    print(f"{out}: {ids.shape[0]} × {ids.shape[1]} ids")


def decode(arguments: argparse.Namespace) -> None:
    out = picture_to_write(arguments.out or arguments.ids.with_suffix(".png"), arguments.force)
    ids, codebook_size = read_ids(arguments.ids)
    tokenizer, device = tokenizer_of(arguments)
    if codebook_size != tokenizer.codebook_size:
        raise ValueError(
            f"'{arguments.ids}' holds ids of a codebook of {codebook_size}; "
            f"this tokenizer has one of {tokenizer.codebook_size}."
        )
    with torch.inference_mode():
        pixels = tokenizer.decode(ids[None].to(device))[0]
    save_png(out, pixels)
    print(out)


def read_ids(path: Path) -> tuple[Tensor, object]:
    """The ids `[h, w]` in a file of `randar encode`, and the size of their codebook. ValueError for another file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        rows, codebook_size = found["ids"], found["codebook_size"]
        check_rows(rows)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"There is no file '{path}'.") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError, KeyError, TypeError, ValueError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(
            f"'{path}' isn't a file of `randar encode` ({reason}): expected JSON with 'codebook_size' and 'ids', rows "
            "of whole numbers."
        ) from error
    return torch.tensor(rows, dtype=torch.long, device="cpu"), codebook_size


def check_rows(rows: object) -> None:
    """ValueError unless `rows` are rows of equally many whole numbers, at least one."""
    if not isinstance(rows, list) or not rows or not all(isinstance(row, list) and row for row in rows):
        raise ValueError("the ids aren't rows, or are empty")
    if len({len(row) for row in rows}) > 1:
        raise ValueError("the rows of ids are of different lengths")
    for row in rows:
        for number in row:
            if type(number) is not int:  # True is an int, and isn't an id
                raise ValueError(f"an id is {number!r}")
            if not 0 <= number < CODE_LIMIT:
                raise ValueError(f"an id is {number}")
