"""`randar encode` and `randar decode`: pictures to token ids and back."""

import argparse
from pathlib import Path

from . import options


def register(subparsers) -> None:
    encode = subparsers.add_parser("encode", help="picture to token ids (a .json beside it, or --out)")
    encode.add_argument("picture", type=Path)
    encode.add_argument("--out", type=Path, help="the .json to write (default: the picture's name)")
    options.add_device(options.add_files(encode))
    encode.set_defaults(run=_encode)

    decode = subparsers.add_parser("decode", help="token ids to picture")
    decode.add_argument("ids", type=Path, help="a .json that `randar encode` wrote")
    decode.add_argument("--out", type=Path, help="the .png to write (default: the ids' name)")
    options.add_device(options.add_files(decode))
    decode.set_defaults(run=_decode)


def _tokenizer(arguments: argparse.Namespace):
    """The tokenizer that the options name: a file of its own, or the one of the model."""
    import torch

    from ..checkpoints.build import build
    from ..checkpoints.locate import locate
    from ..checkpoints.model import load_tokenizer, open_model

    device = options.device_of(arguments.device)
    # Rounded weights would give other ids: float32 unless asked otherwise.
    dtype = getattr(torch, "float32" if arguments.dtype == "auto" else arguments.dtype)
    if arguments.tokenizer:
        return load_tokenizer(locate(arguments.tokenizer), device, dtype), device
    return build(open_model(arguments.model).tokenizer, device, dtype), device


def _encode(arguments: argparse.Namespace) -> None:
    import json

    import torch

    from ..io.atomic import atomic_write
    from ..io.images import read_pixels

    tokenizer, device = _tokenizer(arguments)
    with torch.inference_mode():
        ids = tokenizer.encode(read_pixels(arguments.picture).to(device))[0]
    out = arguments.out or arguments.picture.with_suffix(".json")
    with atomic_write(out) as part:
        part.write_text(json.dumps({"codebook_size": tokenizer.codebook_size, "ids": ids.tolist()}), encoding="utf-8")
    print(f"{out}: {ids.shape[0]} × {ids.shape[1]} ids")


def _decode(arguments: argparse.Namespace) -> None:
    import json

    import torch

    from ..io.images import save_png, writable_picture

    out = writable_picture(arguments.out or arguments.ids.with_suffix(".png"))
    try:
        found = json.loads(arguments.ids.read_text(encoding="utf-8"))
        ids, codebook_size = torch.tensor(found["ids"]), found["codebook_size"]
        if ids.ndim != 2 or ids.is_floating_point():
            raise ValueError(f"ids of shape {list(ids.shape)} and type {ids.dtype}")
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"'{arguments.ids}' is no file of `randar encode` ({error}): expected JSON with 'codebook_size' and 'ids', "
            "rows of whole numbers."
        ) from error
    tokenizer, device = _tokenizer(arguments)
    if codebook_size != tokenizer.codebook_size:
        raise ValueError(
            f"'{arguments.ids}' holds ids of a codebook of {codebook_size}; "
            f"this tokenizer has one of {tokenizer.codebook_size}."
        )
    with torch.inference_mode():
        pixels = tokenizer.decode(ids[None].to(device))[0]
    save_png(out, pixels)
    print(out)
