"""Old names of keys: files and commands that were written with them are still read."""

import logging
from collections.abc import Sequence
from typing import Any

logger = logging.getLogger(__name__)

# Keys and sections that lay among those of all methods until version 0.1.0. Now they are in MedDet's own section.
MOVED = ("SIGMA", "TAU", "GAIN", "LEVEL_WEIGHTS", "DIST_REDUCTION", "DIST_FOREGROUND", "FUSION", "AATM")
# Old name: new name.
RENAMED = {f"DISTILL.{name}": f"DISTILL.MEDDET.{name}" for name in MOVED}


def renamed(content: dict, source: str) -> list[dict]:
    """Split a config's content into tables to be merged in their order: what has new names, and what had old ones.

    One line in the log says which names were old.

    Args:
        content: nested dicts, read from ``source``; it is not changed.
        source: the file that the line names.
    """
    section = content.get("DISTILL")
    if not isinstance(section, dict) or section.keys().isdisjoint(MOVED):
        return [content]
    old = {name: section[name] for name in MOVED if name in section}
    _warn({f"DISTILL.{name}": RENAMED[f"DISTILL.{name}"] for name in old}, source)
    rest = {key: value for key, value in section.items() if key not in old}
    return [{**content, "DISTILL": rest}, {"DISTILL": {"MEDDET": old}}]


def renamed_overrides(overrides: Sequence[Any]) -> list[Any]:
    """KEY, VALUE, KEY, VALUE, ... with old names exchanged; one line in the log says which."""
    overrides, old = list(overrides), {}
    for i in range(0, len(overrides), 2):
        key = str(overrides[i])
        for name, new in RENAMED.items():
            if f"{key}.".startswith(f"{name}."):
                old[key] = overrides[i] = new + key.removeprefix(name)
    _warn(old, "The command")
    return overrides


def _warn(old: dict[str, str], source: str) -> None:
    if old:
        pairs = ", ".join(f"{name} is {new}" for name, new in old.items())
        logger.warning("%s has old names of keys, which are read: %s.", source, pairs)
