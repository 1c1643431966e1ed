"""`randar features`: two-sided features of pictures, as numbers and as a picture."""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from ..io.atomic import atomic_write
from ..io.images import contact_sheet, read_pixels, save_png
from ..io.writable import reason_of
from ..tasks.features import default_layer, feature_map, features
from . import arguments as options
from .from_arguments import device_of_model, load_model
from .outputs import check_free, folder_to_write

MAP_SIDE = 256  # pixels of one map on the sheet


def add_features(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pictures", type=Path, nargs="+", help="pictures of any size; they are scaled to the model's")
    options.add_output(parser)
    options.add_force(parser)
    parser.add_argument("--layer", type=options.at_least(1), help="the layer to read (default: the best one measured)")
    parser.add_argument("--orders", type=options.at_least(1), default=1, help="random orders to average (default: 1)")
    parser.add_argument("--passes", type=int, choices=(1, 2), default=2, help="1: as the model decodes (default: 2)")
    parser.add_argument("--seed", type=options.seed, default=0, help="of the orders (default: 0)")
    options.add_model(parser)
    parser.set_defaults(run=run_features)


def run_features(arguments: argparse.Namespace) -> None:
    folder = folder_to_write(arguments.out)
    numbers, picture = folder / "features.npz", folder / "features.png"
    for path in (numbers, picture):
        check_free(path, arguments.force)
    pixels = [read_pixels(path) for path in arguments.pictures]
    model = load_model(arguments)
    device, side = device_of_model(model), model.transformer.config.grid * model.tokenizer.factor
    layer = arguments.layer or default_layer(model.transformer)
    found = []
    with torch.inference_mode():
        for each in tqdm(pixels, unit=" pictures", disable=None):
            scaled = F.interpolate(each.to(device), (side, side), mode="bicubic", antialias=True).clamp(0, 1)
            ids = model.tokenizer.encode(scaled)
            read = features(model.transformer, ids, layer, arguments.orders, None, arguments.passes, arguments.seed)
            found.append(read.cpu())
        found = torch.cat(found)
        colours = F.interpolate(feature_map(found), (MAP_SIDE, MAP_SIDE), mode="nearest-exact")
    try:
        with atomic_write(numbers) as temporary, open(temporary, "wb") as file:
            np.savez(file, features=found.numpy(), names=np.array([str(path) for path in arguments.pictures]))
    except OSError as error:
        raise OSError(f"'{numbers}' can't be written{reason_of(error)}") from error
    save_png(picture, contact_sheet(colours, columns=4), {"task": "features", "model": model.name, "layer": layer})
    print(f"{numbers}: {list(found.shape)} (pictures, rows, columns, channels) of layer {layer}")
    print(f"{picture}: the three main components, one map for each picture")
