"""Class names: finding the class that a user means by an id or by a name."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=1)
def imagenet_classes() -> tuple[str, ...]:
    """The 1000 ImageNet class names by id."""
    return tuple(json.loads((Path(__file__).parent / "data" / "imagenet_classes.json").read_text(encoding="utf-8")))


def resolve_class(name_or_id: str | int, class_names: Sequence[str]) -> int:
    """The id of a class given by its name, in any case, with spaces, `_` or `-`, or by its id (also as text).

    A number that is a class's name is taken for the name. Raises ValueError for an id out of range, a name that two
    classes share, and an unknown name, with near names.
    """
    text = str(name_or_id).strip()
    if list(class_names).count(text) == 1:  # ImageNet has a Cardigan (dog) and a cardigan; other names are numbers
        return list(class_names).index(text)
    if text.lstrip("+-").isdecimal():
        class_id = int(text)
        if not 0 <= class_id < len(class_names):
            raise ValueError(f"There is no class {class_id}: this model has the classes 0 to {len(class_names) - 1}.")
        return class_id
    plain = [_plain(name) for name in class_names]
    wanted = _plain(text)
    found = [class_id for class_id, name in enumerate(plain) if name == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"{len(found)} classes are named '{text}'; say which by its id: {', '.join(map(str, found))}.")
    near = difflib.get_close_matches(wanted, plain, n=3, cutoff=0.6)
    near += [name for name in plain if wanted and wanted in name.split() and name not in near]
    hints = [f"{class_names[plain.index(name)]} ({plain.index(name)})" for name in near[:6]]
    hint = f" Did you mean {', '.join(hints)}?" if hints else " Class ids are understood too."
    raise ValueError(f"There is no class named '{text}'.{hint}")


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())
