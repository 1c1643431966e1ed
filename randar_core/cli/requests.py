"""Which pictures a command is asked for: their conditions, names and random numbers."""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..checkpoints.model import Model
from ..classes import condition_text, other_meanings, parse_condition, plain_name
from ..decoding.conditions import Condition, Prompt, check_region
from ..io.images import read_mask
from .from_arguments import digest_of

TITLE_LENGTH = 60  # of a blend in the name of a file: file systems take 255 bytes


@dataclass(frozen=True)
class Request:
    """One picture that is asked for.

    index: in the run, its file name and its metadata.
    condition: a class or a blend; None where regions alone say what the picture shows.
    prompt: the same, with regions and the negative class.
    title: the condition in words.
    batch_index: the index that its random numbers come from, the same for all pictures of a sweep.
    """

    index: int
    condition: Condition | None
    prompt: Prompt
    title: str
    batch_index: int

    @property
    def plain(self) -> bool:
        """Whether it shows one class and nothing else."""
        return self.condition is not None and len(self.condition.classes) == 1

    @property
    def class_id(self) -> int:
        """Of a plain request."""
        return self.condition.classes[0]

    @property
    def file_name(self) -> str:
        if self.plain:
            word = "".join(letter if letter.isalnum() else "_" for letter in self.title)
        else:
            word = re.sub(r"\W+", "_", self.title).strip("_")[:TITLE_LENGTH]
        return f"{self.index:05}_{word}.png"


def conditions_of(texts: Sequence[str], model: Model) -> list[Condition]:
    """Conditions of what the user wrote: ids, names, blends, or 'all'; comma-separated or one by one."""
    if [text.strip().lower() for text in texts] == ["all"]:
        return [Condition.of(class_id) for class_id in range(len(model.class_names))]
    # Some names hold commas themselves: a whole argument is tried first.
    names = {plain_name(name) for name in model.class_names}
    words = [word for text in texts for word in ([text] if plain_name(text) in names else text.split(","))]
    words = [word for word in words if word.strip()]
    if not words:
        raise ValueError(f"'{' '.join(texts)}' names no class. Give ids, names or 'all'.")
    try:
        return [condition_of(word, model) for word in words]
    except ValueError as error:
        if not is_condition(whole := " ".join(texts), model):
            raise
        # A shell splits at spaces what isn't in quotes.
        raise ValueError(f'{error} Put a name or a blend of several words in quotes: "{whole}".') from error


def is_condition(text: str, model: Model) -> bool:
    try:
        parse_condition(text, model.class_names)
    except ValueError:
        return False
    return True


def condition_of(text: str, model: Model) -> Condition:
    """The class or blend that `text` names; says so where the word of a class begins the name of others too."""
    condition = parse_condition(text, model.class_names)
    if not text.strip().lstrip("+-").isdecimal() and condition.weights == (1.0,):
        class_id = condition.classes[0]
        if others := other_meanings(class_id, model.class_names):
            named = ", ".join(f"'{model.class_names[other]}' ({other})" for other in others)
            print(f"'{text.strip()}' is class {class_id}. The model also has {named}.")
    return condition


def prompt_of(condition: Condition | None, arguments: argparse.Namespace, model: Model) -> Prompt:
    """`condition` with the regions and the negative class of the options; with regions it is the background."""
    negative = None if arguments.negative is None else condition_of(arguments.negative, model)
    if not arguments.region:
        return Prompt((condition,), negative=negative)
    masks = tuple(region_mask(Path(path)) for path, _ in arguments.region)
    conditions = tuple(condition_of(text, model) for _, text in arguments.region)
    return Prompt(conditions, masks, background=condition, negative=negative)


def region_mask(path: Path) -> Tensor:
    """The picture in a file as a region `[H, W]`. ValueError, naming it, where it marks nothing."""
    mask = read_mask(path, on_doubt=print)[0]
    try:
        check_region(mask)
    except ValueError as error:
        raise ValueError(f"'{path}' can't be a region. {error}") from error
    return mask


def condition_metadata(arguments: argparse.Namespace) -> dict:
    """The negative class and the regions as metadata, where there are any."""
    metadata: dict = {}
    if arguments.negative is not None:
        metadata["negative"] = arguments.negative
    if arguments.region:
        metadata["regions"] = [{"class": text, "mask": digest_of([path])} for path, text in arguments.region]
    return metadata


def requests_of(arguments: argparse.Namespace, model: Model) -> list[Request]:
    """All pictures of a `generate`, in the order of their indices."""
    conditions = sweep_of(arguments, model) if arguments.sweep else in_turn(arguments, model)
    requests = []
    made: dict[Condition | None, Prompt] = {}
    for index, condition in enumerate(conditions, arguments.first):
        if condition not in made:
            made[condition] = prompt_of(condition, arguments, model)
        title = "regions" if condition is None else condition_text(condition, model.class_names)
        batch_index = arguments.first if arguments.sweep else index
        requests.append(Request(index, condition, made[condition], title, batch_index))
    return requests


def in_turn(arguments: argparse.Namespace, model: Model) -> list[Condition | None]:
    """The condition of every picture of a run without a sweep."""
    if not arguments.classes and arguments.region:
        return [None] * arguments.count
    if not arguments.classes:
        classes = len(model.class_names)
        return [Condition.of(picture % classes) for picture in range(arguments.count)]
    conditions = conditions_of(arguments.classes, model)
    # Evaluators score a set in parts, and each part should hold all classes: there they take turns.
    if arguments.npz:
        return conditions * arguments.count
    return [condition for condition in conditions for _ in range(arguments.count)]


def sweep_of(arguments: argparse.Namespace, model: Model) -> list[Condition]:
    """--count blends from the first class of --sweep to the second."""
    start, end = (condition_of(text, model) for text in arguments.sweep)
    steps = max(1, arguments.count - 1)
    return [Condition.blend([(start, 1 - i / steps), (end, i / steps)]) for i in range(arguments.count)]
