"""What the class socket carries: a tuple of class prompts, one for each picture of a batch, used in turn.

They name classes before a model is known. A class carries its vocabulary, because ids 0 to 11 exist in more than one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from ..randar_core.classes import imagenet_classes, resolve_class
from ..randar_core.decoding.conditions import Condition, Prompt, PromptBatch
from .loaded_model import LoadedModel


@dataclass(frozen=True)
class ClassLabel:
    """A class by its id in a `vocabulary`. Without one, `text` is what the user wrote, resolved in the model's own."""

    text: str
    class_id: int | None = None
    vocabulary: tuple[str, ...] | None = None

    def id_for(self, class_names: tuple[str, ...]) -> int:
        """Its id in a model with `class_names`. Raises ValueError where the model doesn't know the class."""
        if self.vocabulary is None:
            return resolve_class(self.text, class_names)
        if self.vocabulary != class_names:
            raise ValueError(
                f"The connected model doesn't know the class '{self.text}'. It draws {described(class_names)}. "
                "Choose one of these, or load the model that the class belongs to."
            )
        return self.class_id


def described(class_names: tuple[str, ...]) -> str:
    """A vocabulary in a few words."""
    if class_names == imagenet_classes():
        return "the 1000 ImageNet classes ('0: tench' to '999: toilet tissue')"
    shown = ", ".join(class_names[:12])
    return f"its own {len(class_names)} classes: {shown}{', …' if len(class_names) > 12 else ''}"


@dataclass(frozen=True)
class Blend:
    """A weighted mixture of classes, which is a condition once the model is known. The weights sum to 1."""

    classes: tuple[ClassLabel, ...]
    weights: tuple[float, ...] = (1.0,)

    def condition_for(self, class_names: tuple[str, ...]) -> Condition:
        return Condition(tuple(label.id_for(class_names) for label in self.classes), self.weights)

    def mixed(self, other: "Blend", weight: float) -> "Blend":
        """This blend and `weight` (0…1) of an `other`. Raises ValueError for classes of different models."""
        if weight == 0 or weight == 1:
            return other if weight else self
        known = {label.vocabulary: label for label in (*self.classes, *other.classes) if label.vocabulary}
        if len(known) > 1:
            names = " and ".join(f"'{label.text}'" for label in known.values())
            raise ValueError(
                f"The classes {names} belong to different models, and no model can blend them. Choose classes of one "
                "model: those with 'built-in' belong to the built-in model, those with a number to ImageNet models."
            )
        weights = (*(w * (1 - weight) for w in self.weights), *(w * weight for w in other.weights))
        return Blend(self.classes + other.classes, weights)


@dataclass(frozen=True, eq=False)
class Region:
    """A blend and where it counts: `mask` `[H, W]` in 0…1 of any size, scaled to the canvas."""

    blend: Blend
    mask: Tensor


@dataclass(frozen=True, eq=False)
class ClassPrompt:
    """What one picture is to show: `blend` everywhere, or where none of the `regions` lies (None: no class there).

    It is a `Prompt` once the model is known. `shares_noise`: the picture has the random numbers of the one before it in
    the batch.
    """

    blend: Blend | None
    regions: tuple[Region, ...] = field(default=())
    shares_noise: bool = False

    @staticmethod
    def of(label: ClassLabel) -> "ClassPrompt":
        return ClassPrompt(Blend((label,)))

    def with_region(self, region: Region, shares_noise: bool) -> "ClassPrompt":
        """This picture with one more region; what was its class is now its background."""
        return replace(self, regions=(*self.regions, region), shares_noise=self.shares_noise or shares_noise)

    def prompt_for(self, class_names: tuple[str, ...], negative: Blend | None = None) -> Prompt:
        """As the core takes it. Raises ValueError for a class that the model doesn't know."""
        steered_from = None if negative is None else negative.condition_for(class_names)
        own = None if self.blend is None else self.blend.condition_for(class_names)
        if not self.regions:
            return Prompt((own,), negative=steered_from)
        return Prompt(
            tuple(region.blend.condition_for(class_names) for region in self.regions),
            tuple(region.mask for region in self.regions),
            background=own,
            negative=steered_from,
        )


def plain_blends(classes: Sequence[ClassPrompt], name: str, remedy: str) -> list[Blend]:
    """The blends of `classes` without regions. Raises ValueError, naming the input, where there are regions."""
    if any(each.regions for each in classes):
        raise ValueError(f"The input `{name}` has regions; it takes classes and blends only. {remedy}")
    return [each.blend for each in classes]


def prompts_for(
    model: LoadedModel, classes: Sequence[ClassPrompt], count: int, negative: Sequence[ClassPrompt] | None = None
) -> PromptBatch:
    """The prompts of `count` pictures on the model's device; `classes` and `negative` are used in turn.

    Raises ValueError for a class that the model doesn't know.
    """
    away = [None]
    if negative:
        away = plain_blends(negative, "negative", "Steer away from a class or a blend; it counts everywhere.")
    items = tuple(classes[i % len(classes)].prompt_for(model.class_names, away[i % len(away)]) for i in range(count))
    return PromptBatch(items, model.device)


def shared_batch_index(classes: Sequence[ClassPrompt], batch_index: Sequence[int]) -> list[int]:
    """`batch_index` `[B]`; pictures that share their random numbers get the index of the first of them."""
    leaders, leader = [], 0
    for i, each in enumerate(classes):
        leader = leader if each.shares_noise and i else i
        leaders.append(leader)
    starts = [i - i % len(classes) for i in range(len(batch_index))]
    return [batch_index[start + leaders[i - start]] for i, start in enumerate(starts)]
