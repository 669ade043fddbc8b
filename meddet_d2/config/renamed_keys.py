"""Old names of keys: files and commands that were written with them are still read."""

import copy
import logging
from collections.abc import Sequence
from typing import Any

logger = logging.getLogger(__name__)

# Old name: new name; of a key or of a whole section. Until version 0.1.0 MedDet's keys lay among those of all methods.
RENAMED = {
    f"DISTILL.{name}": f"DISTILL.MEDDET.{name}"
    for name in ("SIGMA", "TAU", "GAIN", "LEVEL_WEIGHTS", "DIST_REDUCTION", "DIST_FOREGROUND", "FUSION", "AATM")
}


def renamed(content: dict, source: str) -> dict:
    """A config's content as nested dicts, with old names exchanged; one line in the log says which.

    Args:
        content: read from ``source``; it is not changed.
        source: the file that the line names.
    """
    content, old = copy.deepcopy(content), {}
    for name, new in RENAMED.items():
        section, _, key = name.rpartition(".")
        place = _section(content, section)
        if isinstance(place, dict) and key in place:
            _merge(content, new.split("."), place.pop(key))
            old[name] = new
    _tell(old, source)
    return content


def renamed_overrides(overrides: Sequence[Any]) -> list[Any]:
    """KEY, VALUE, KEY, VALUE, ... with old names exchanged; one line in the log says which."""
    overrides, old = list(overrides), {}
    for i in range(0, len(overrides), 2):
        for name, new in RENAMED.items():
            key = str(overrides[i])
            if key == name or key.startswith(f"{name}."):
                old[key] = overrides[i] = new + key.removeprefix(name)
    _tell(old, "The command")
    return overrides


def _section(content: Any, name: str) -> Any:
    for part in name.split("."):
        content = content.get(part) if isinstance(content, dict) else None
    return content


def _merge(content: dict, path: list[str], value: Any) -> None:
    for part in path[:-1]:
        if not isinstance(content.get(part), dict):
            content[part] = {}
        content = content[part]
    if isinstance(value, dict) and isinstance(content.get(path[-1]), dict):
        for key, one in value.items():
            _merge(content[path[-1]], [key], one)
    else:
        content[path[-1]] = value


def _tell(old: dict[str, str], source: str) -> None:
    if old:
        pairs = ", ".join(f"{name} is {new}" for name, new in old.items())
        logger.warning("%s has old names of keys, which are read: %s.", source, pairs)
