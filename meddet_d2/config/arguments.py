"""From a section of the config to a constructor's arguments, and the one line for a value that is out of its range."""

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any


def arguments(of: Callable, *sections: Mapping[str, Any]) -> dict[str, Any]:
    """The values of sections' keys for those arguments of ``of`` that have a key's name, in lower case.

    A later section wins. An underscore behind an argument's name (``lambda_``) does not count.
    """
    keys = {name: name.rstrip("_").upper() for name in inspect.signature(of).parameters}
    return {name: section[key] for section in sections for name, key in keys.items() if key in section}


def require(good: bool, key: str, value: Any, expected: str) -> None:
    """Raise a ValueError with the key, its value and what was expected, unless it is good."""
    if not good:
        raise ValueError(f"{key} is {value!r}; it must be {expected}.")


def require_choice(key: str, value: Any, known: Collection[str]) -> None:
    """Raise a ValueError unless the value of a key is one of those known."""
    require(value in known, key, value, f"one of: {', '.join(known)}")
