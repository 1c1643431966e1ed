"""A training that begins with the weights of a trained transformer, with more layers or other classes where needed."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..models.family import TokenModel


@dataclass(frozen=True)
class WarmStart:
    """A trained transformer to begin with, and the names of its classes."""

    transformer: TokenModel
    class_names: Sequence[str]


@torch.no_grad()
def begin_with(model: TokenModel, class_names: Sequence[str], start: WarmStart) -> None:
    """Give `model`, initialised before, the weights of `start`.

    Classes are known by their names: those that `start` doesn't know stay as they were initialised. Layers beyond those
    of `start` add nothing to the residual stream at first: the model begins as good as `start` is, as in Net2Net (Chen
    et al., arXiv 1511.05641). Raises ValueError where `start` is of another family, has more layers, or another
    width, number of heads, codebook size or grid.
    """
    if type(start.transformer) is not type(model):
        raise ValueError(
            f"The model to begin with is of the family {type(start.transformer).__name__}, the one to be trained of "
            f"{type(model).__name__}; they must be equal."
        )
    for name in ("width", "heads", "codebook_size", "grid"):
        found, expected = getattr(start.transformer.config, name), getattr(model.config, name)
        if found != expected:
            raise ValueError(
                f"The model to begin with has {name.replace('_', ' ')} {found}, the one to be trained {expected}; "
                "they must be equal."
            )
    layers = start.transformer.config.layers
    if layers > model.config.layers:
        raise ValueError(
            f"The model to begin with has {layers} layers, the one to be trained {model.config.layers}: ask for "
            f"{layers} or more."
        )
    learning = model.traits.learning
    weights = start.transformer.state_dict()
    lists = len(learning.layers)
    numbers = range(layers // lists, model.config.layers // lists)
    added = tuple(f"{name}.{number}." for name in learning.layers for number in numbers)
    new = {name: weight for name, weight in model.state_dict().items() if name.startswith(added)}
    for name, weight in new.items():
        if name.endswith(learning.into_stream):  # their biases are zero already, see `initialise`
            weight.zero_()
    known, embeddings = weights[learning.classes], model.state_dict()[learning.classes].clone()
    first = len(known) - start.transformer.config.classes - learning.rows_after_classes
    embeddings[:first] = known[:first]
    for row, name in enumerate(class_names, first):
        if name in start.class_names:
            embeddings[row] = known[first + start.class_names.index(name)]
    embeddings[first + model.config.classes :] = known[first + start.transformer.config.classes :]
    model.load_state_dict(new | weights | {learning.classes: embeddings})
