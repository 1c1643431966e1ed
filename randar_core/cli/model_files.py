"""`randar info`, `randar convert`, `randar download`: what a file is, one bundle from two files, fetching a release."""

import argparse
import sys
from pathlib import Path

import torch

from ..checkpoints.bundle import save_bundle
from ..checkpoints.detect import detect
from ..checkpoints.download import OnBytes, download
from ..checkpoints.locate import locate
from ..checkpoints.model import load_model
from ..checkpoints.releases import RELEASES, find_release
from ..checkpoints.weights import read_weights
from ..io.writable import writable_folder
from ..runtime.progress_lines import Progress, is_terminal
from . import arguments as options
from .outputs import check_free


def add_info(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="a file, 'builtin', or the name of a downloaded release")
    parser.set_defaults(run=info)


def add_convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("decoder", metavar="model", help="file or release name of the transformer, or a bundle")
    parser.add_argument("out", type=Path, help="the bundle to write (.safetensors)")
    parser.add_argument("--tokenizer", help="file or release name (default: found automatically)")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16", "float16"), help="default: as in the transformer's file"
    )
    options.add_force(parser)
    parser.set_defaults(run=convert)


def add_download(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="release; without it, all names are listed")
    parser.add_argument("--folder", type=Path, help="where to put it (default: the hub library's assets folder)")
    parser.add_argument("--alone", action="store_true", help="a transformer without its tokenizer")
    parser.set_defaults(run=fetch)


def info(arguments: argparse.Namespace) -> None:
    detected = detect(read_weights(locate(arguments.file)))
    print(f"{detected.path} ({detected.path.stat().st_size / 1e6:.1f} MB)")
    if detected.wrapper:
        print(f"a training checkpoint; the weights are those {detected.wrapper}")
    for network in detected.networks:
        print(f"{network.family.role}: {network.title}, {network.parameters:,} weights in {network.dtype}")
        print(f"  {network.config}")
        fault = f"doesn’t fit: {network.mismatch}" if network.mismatch else "every key and shape is as expected"
        print(f"  {fault}")
    for name, value in detected.metadata.items():
        print(f"{name}: {', '.join(map(str, value)) if isinstance(value, list) else value}")


def convert(arguments: argparse.Namespace) -> None:
    if arguments.out.suffix != ".safetensors":
        raise ValueError(f"A bundle's name ends in .safetensors; got '{arguments.out}'.")
    check_free(arguments.out, arguments.force, option="")
    writable_folder(arguments.out.parent)
    dtype = getattr(torch, arguments.dtype) if arguments.dtype else None
    model = load_model(arguments.decoder, arguments.tokenizer, dtype=dtype)
    save_bundle(arguments.out, model.transformer, model.tokenizer, model.class_names, model.defaults, model.name)
    print(f"{arguments.out} ({arguments.out.stat().st_size / 1e6:.1f} MB)")


def fetch(arguments: argparse.Namespace) -> None:
    if arguments.name is None:
        for release in RELEASES:
            print(f"{release.name:20} {release.parameters / 1e6:6.0f} M  {release.url or 'never released'}")
        return
    release = find_release(arguments.name)
    names = [release.name] if arguments.alone or not release.tokenizer else [release.name, release.tokenizer]
    for name in names:
        with Progress(name, unit="MB", shown=not is_terminal(sys.stderr)) as progress:
            print(download(name, arguments.folder, on_bytes_of(progress)))


def on_bytes_of(progress: Progress) -> OnBytes | None:
    """What tells a log how far a download is; at a terminal the hub library shows its own bar."""
    if is_terminal(sys.stderr):
        return None

    def on_bytes(come: int, whole: int | None) -> None:
        progress.show(come // 10**6, None if whole is None else whole // 10**6)

    return on_bytes
