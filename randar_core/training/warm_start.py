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
    """Give `model`, initialised before and of a family that can grow, the weights of `start`.

    Classes are known by their names: those that `start` doesn't know stay as they were initialised. Layers beyond those
    of `start` add nothing to the residual stream at first: the model begins as good as `start` is, as in Net2Net (Chen
    et al., arXiv 1511.05641). Raises ValueError for a family that can't grow, and where `start` is of another one, has
    more layers, or differs in anything else.
    """
    learning = model.traits.learning
    if learning is None or not learning.grows:
        raise ValueError(f"The family {type(model).__name__} can't begin with the weights of a trained one.")
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
    weights = start.transformer.state_dict()
    added = tuple(f"{learning.layers}.{index}." for index in range(layers, model.config.layers))
    new = {name: weight for name, weight in model.state_dict().items() if name.startswith(added)}
    for name, weight in new.items():
        if name.endswith(learning.into_stream):
            weight.zero_()
    known, embeddings = weights[learning.classes], model.state_dict()[learning.classes].clone()
    embeddings[model.null_class] = known[start.transformer.null_class]
    for row, name in enumerate(class_names):
        if name in start.class_names:
            embeddings[row] = known[start.class_names.index(name)]
    model.load_state_dict(new | weights | {learning.classes: embeddings})
