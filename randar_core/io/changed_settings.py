"""What differs between the settings that a file was begun with and those of the run that resumes it."""

from collections.abc import Mapping
from typing import Any


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """'seed: 0 then, 1 now' for every setting that differs; a nested one is named 'loop.batch'.

    A setting that is None counts as not set. A tuple equals the list that JSON makes of it.
    """
    before, now = flat(before), flat(now)
    return [
        f"{name}: {shown(before.get(name))} then, {shown(now.get(name))} now"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = plain(value)
    return found


def plain(value: Any) -> Any:
    return [plain(entry) for entry in value] if isinstance(value, list | tuple) else value


def shown(value: Any) -> str:
    return "not set" if value is None else str(value)
