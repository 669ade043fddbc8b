"""Data sets by name: how to load them, and what is known about them."""

from collections import UserDict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any


class _Catalog(UserDict):
    def list(self):
        return list(self)

    def remove(self, name: str) -> None:
        self.pop(name)


class _DatasetCatalog(_Catalog):
    """Name -> function without arguments that returns the data set's list of dicts, the same at every call."""

    def register(self, name: str, func: Callable[[], list[dict]]) -> None:
        assert callable(func), f"Data set '{name}' needs a function that loads it"
        assert name not in self, f"Data set '{name}' is registered already"
        self[name] = func

    def get(self, name: str) -> list[dict]:
        """Load a data set."""
        if name not in self:
            raise KeyError(f"Data set '{name}' is not registered; registered are: {', '.join(self)}")
        return self[name]()


class Metadata(SimpleNamespace):
    """Attributes of a data set. One that is set cannot be set to another value."""

    name: str = "N/A"

    def __getattr__(self, key: str) -> Any:
        raise AttributeError(f"'{key}' is not in the metadata of data set '{self.name}' ({', '.join(self.__dict__)})")

    def __setattr__(self, key: str, value: Any) -> None:
        old = self.__dict__.get(key, value)
        assert old == value, f"Metadata '{key}' of data set '{self.name}' is {old}; it cannot become {value}"
        super().__setattr__(key, value)

    def set(self, **attributes: Any) -> "Metadata":
        for key, value in attributes.items():
            setattr(self, key, value)
        return self

    def get(self, key: str, default: Any = None) -> Any:
        return self.__dict__.get(key, default)


class _MetadataCatalog(_Catalog):
    """Name -> :class:`Metadata`, made empty at the first ``get``."""

    def get(self, name: str) -> Metadata:
        return self.setdefault(name, Metadata(name=name))


DatasetCatalog = _DatasetCatalog()
MetadataCatalog = _MetadataCatalog()
