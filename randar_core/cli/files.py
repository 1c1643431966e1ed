"""`randar info`, `randar convert`, `randar download`: what a file is, one bundle from two files, fetching a release."""

import argparse
from pathlib import Path


def register(subparsers) -> None:
    info = subparsers.add_parser("info", help="say what a file of weights is, and what in it doesn't fit")
    info.add_argument("file", help="a file, 'builtin', or the name of a downloaded release")
    info.set_defaults(run=_info)

    convert = subparsers.add_parser("convert", help="write decoder and tokenizer into one bundle")
    convert.add_argument("decoder", help="file or release name of the decoder, or a bundle")
    convert.add_argument("out", type=Path, help="the bundle to write (.safetensors)")
    convert.add_argument("--tokenizer", help="file or release name (default: found by itself)")
    convert.add_argument(
        "--dtype", choices=("float32", "bfloat16", "float16"), help="default: as in the decoder's file"
    )
    convert.add_argument("--force", action="store_true", help="overwrite a file that is there")
    convert.set_defaults(run=_convert)

    download = subparsers.add_parser("download", help="fetch a released model from its authors' hub repository")
    download.add_argument("name", nargs="?", help="release; without it, all names are listed")
    download.add_argument("--folder", type=Path, help="where to put it (default: the hub library's assets folder)")
    download.add_argument("--alone", action="store_true", help="a decoder without its tokenizer")
    download.set_defaults(run=_download)


def _info(arguments: argparse.Namespace) -> None:
    from ..checkpoints.detect import detect
    from ..checkpoints.locate import locate
    from ..checkpoints.weights import read_weights

    detected = detect(read_weights(locate(arguments.file)))
    print(f"{detected.path} ({detected.path.stat().st_size / 1e6:.1f} MB)")
    if detected.wrapper:
        print(f"a training checkpoint; the weights are those {detected.wrapper}")
    for network in detected.networks:
        print(f"{network.family.role}: {network.title}, {network.parameters:,} weights in {network.dtype}")
        print(f"  {network.config}")
        print(f"  {f'doesn’t fit: {network.mismatch}' if network.mismatch else 'every key and shape is as expected'}")
    for name, value in detected.metadata.items():
        print(f"{name}: {', '.join(value) if isinstance(value, list) else value}")


def _convert(arguments: argparse.Namespace) -> None:
    import torch

    from ..checkpoints.bundle import save_bundle
    from ..checkpoints.model import load_model

    if arguments.out.suffix != ".safetensors":
        raise ValueError(f"A bundle's name ends in .safetensors; got '{arguments.out}'.")
    if arguments.out.exists() and not arguments.force:
        raise ValueError(f"'{arguments.out}' is there already; --force overwrites it.")
    dtype = getattr(torch, arguments.dtype) if arguments.dtype else None
    model = load_model(arguments.decoder, arguments.tokenizer, dtype=dtype)
    save_bundle(arguments.out, model.transformer, model.tokenizer, model.class_names, model.defaults, model.name)
    print(f"{arguments.out} ({arguments.out.stat().st_size / 1e6:.1f} MB)")


def _download(arguments: argparse.Namespace) -> None:
    from ..checkpoints.download import download
    from ..checkpoints.releases import RELEASES, find_release

    if arguments.name is None:
        for release in RELEASES:
            print(f"{release.name:20} {release.parameters / 1e6:6.0f} M  {release.url or 'never released'}")
        return
    release = find_release(arguments.name)
    names = [release.name] if arguments.alone or not release.tokenizer else [release.name, release.tokenizer]
    for name in names:
        print(download(name, arguments.folder))
