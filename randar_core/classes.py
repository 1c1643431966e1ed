"""Class names: the class, or the blend of classes, that a user means by a text."""

import difflib
import json
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from .decoding.conditions import Condition

SYNSET = re.compile(r"n\d{8}")
WEIGHT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)%?")


@lru_cache(maxsize=1)
def imagenet_classes() -> tuple[str, ...]:
    """The 1000 ImageNet class names by id."""
    return tuple(json.loads((Path(__file__).parent / "data" / "imagenet_classes.json").read_text(encoding="utf-8")))


def resolve_class(name_or_id: str | int, class_names: Sequence[str]) -> int:
    """The id of a class given by its name, in any case, with spaces, `_` or `-`, or by its id (also as text).

    A number that is a class's name is taken for the name. Accents may be written in any of Unicode's ways. Raises
    ValueError for an id out of range, a name that two classes share, and an unknown name, with near names.
    """
    text = unicodedata.normalize("NFC", str(name_or_id)).strip()
    exact = [unicodedata.normalize("NFC", name) for name in class_names]
    plain = [plain_name(name) for name in class_names]
    searched = plain_name(text)
    if exact.count(text) == 1:  # ImageNet has a Cardigan (dog) and a cardigan; other names are numbers
        return exact.index(text)
    if text.lstrip("+-").isdecimal():
        class_id = int(text)
        if not 0 <= class_id < len(class_names):
            raise ValueError(f"There is no class {class_id}: this model has the classes 0 to {len(class_names) - 1}.")
        return class_id
    found = [class_id for class_id, name in enumerate(plain) if name == searched]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"{len(found)} classes are named '{text}'; say which by its id: {', '.join(map(str, found))}.")
    if not searched:
        raise ValueError("The name of a class is empty. Give a name or an id.")
    if SYNSET.fullmatch(text.lower()):
        raise ValueError(
            f"'{text}' is a WordNet id (synset), and this model names its classes by words. Give the class's name or "
            "number: n02099601, for one, is 'golden retriever' or 207 in models trained on ImageNet."
        )
    near = difflib.get_close_matches(searched, plain, n=3, cutoff=0.6)
    near += [name for name in plain if searched in name.split() and name not in near]
    hints = [f"{class_names[plain.index(name)]} ({plain.index(name)})" for name in near[:6]]
    first = ", ".join(class_names[:12]) + (", …" if len(class_names) > 12 else "")
    hint = f"Did you mean {', '.join(hints)}?" if hints else f"This model has {len(class_names)} classes: {first}."
    raise ValueError(f"There is no class named '{text}'. {hint} Class ids (0 to {len(class_names) - 1}) work too.")


def other_meanings(class_id: int, class_names: Sequence[str]) -> list[int]:
    """Classes whose names are that of `class_id` and more: ImageNet's "crane" is the machine, the bird "crane bird"."""
    beginning = plain_name(class_names[class_id]) + " "
    return [other for other, name in enumerate(class_names) if plain_name(name).startswith(beginning)]


def parse_condition(text: str | int, class_names: Sequence[str]) -> Condition:
    """The class or the blend that a `text` means: 'fish', '3', or '0.7*fish + 0.3*moon' (weights may be left out).

    A text that is a class's name is that class, whatever signs it holds. Raises ValueError as `resolve_class` and
    `Condition` do, and where the text before a '*' isn't a number.
    """
    text = str(text)
    if plain_name(text) in {plain_name(name) for name in class_names} or not any(sign in text for sign in "*+"):
        return Condition.of(resolve_class(text, class_names))
    if text.strip().lstrip("+").isdecimal():
        return Condition.of(resolve_class(text, class_names))
    classes, weights = [], []
    for term in text.split("+"):
        name, weight = term, "1"
        if "*" in term:
            weight, name = (side.strip() for side in term.split("*", 1))
            if not WEIGHT.fullmatch(weight) and WEIGHT.fullmatch(name):  # fish*0.7
                weight, name = name, weight
        if not WEIGHT.fullmatch(weight):
            raise ValueError(
                f"In the blend '{text}', '{weight}' isn't a weight. Write it as '0.7*{class_names[0]} + "
                f"0.3*{class_names[-1]}'."
            )
        if weight.startswith("-"):
            raise ValueError(
                f"In the blend '{text}', the weight {weight} is below 0. To steer away from a class, make it the "
                "negative class."
            )
        if not name.strip():
            raise ValueError(f"In the blend '{text}', a class is missing next to a '+' or '*'.")
        classes.append(resolve_class(name, class_names))
        weights.append(float(weight.removesuffix("%")))
    return Condition(tuple(classes), tuple(weights))


def condition_text(condition: Condition, class_names: Sequence[str]) -> str:
    """'fish', or '0.7*fish + 0.3*moon'."""
    if len(condition.classes) == 1:
        return class_names[condition.classes[0]]
    parts = zip(condition.classes, condition.weights, strict=True)
    return " + ".join(f"{weight:.4g}*{class_names[class_id]}" for class_id, weight in parts)


def plain_name(name: str) -> str:
    name = unicodedata.normalize("NFC", name).lower()
    return " ".join(name.replace("_", " ").replace("-", " ").split())
