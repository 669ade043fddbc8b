"""Arrays of a .pkl, read without running what the file may hold.

A pickle is a program. This reads only those that build numpy arrays and Python's own containers, numbers and texts, and
refuses any other before it does anything.
"""

import io
import pickle
import re
import struct
from pathlib import Path
from typing import Any, ClassVar

import numpy as np


class Kind:
    """Stands for a numpy.dtype: a type of numbers and its order of bytes."""

    def __init__(self, code: str, *_: Any) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"[biuf](1|2|4|8|16)", code):
            raise pickle.UnpicklingError("it has an array of something else than numbers")
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1] if state[1] in ("<", ">") else "="

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.order + self.code)


class Array:
    """Stands for a numpy.ndarray, whose own __setstate__ can be made to crash: the bytes are counted here."""

    value: np.ndarray | None = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, columns_first, data = state
        # Python 2 had no bytes.
        data = data.encode("latin1") if isinstance(data, str) else bytes(data)
        self.value = np.frombuffer(data, kind.dtype).reshape(shape, order="F" if columns_first else "C")


def make_array(data: bytes, kind: Kind, shape: tuple, order: str) -> Array:
    """Stands for numpy's _frombuffer."""
    array = Array()
    array.__setstate__((1, shape, kind, order == "F", data))
    return array


def make_scalar(kind: Kind, data: bytes | str) -> Array:
    """Stands for numpy's scalar."""
    return make_array(data.encode("latin1") if isinstance(data, str) else data, kind, (), "C")


class Name:
    """Stands for the class numpy.ndarray, which pickles name but do not call."""


# What pickles of arrays name, under numpy's module names of all times, and what they get for it.
ALLOWED = {
    ("collections", "OrderedDict"): dict,
    ("_codecs", "encode"): lambda text, *_: text.encode("latin1"),  # how protocol 2 writes bytes
    ("__builtin__", "bytes"): lambda: b"",  # and none of them
    **{(module, "ndarray"): Name for module in ("numpy", "numpy.core.multiarray")},
    **{(module, "dtype"): Kind for module in ("numpy", "numpy.core.multiarray")},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): lambda *_: Array() for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): make_scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): make_array for core in ("core", "_core")},
}


# The one in Python: the one in C gives memory to whatever number a file names.
class ArraysOnly(pickle._Unpickler):
    """An unpickler that can name nothing but arrays and their types, and builds them by itself."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return ALLOWED[module, name]

    def persistent_load(self, identifier: Any) -> Any:
        raise pickle.UnpicklingError("it refers to data outside of it")

    def load_bytearray(self) -> None:
        """The library's own makes room for as many bytes as the file says that there are."""
        (length,) = struct.unpack("<Q", self.read(8))  # type: ignore[attr-defined]
        self.append(bytearray(self.read(length)))  # type: ignore[attr-defined]

    dispatch: ClassVar[dict[int, Any]] = {**pickle._Unpickler.dispatch, pickle.BYTEARRAY8[0]: load_bytearray}


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a pickle by their names: of the file itself, or of its "model" or "blobs".

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds anything else; one line.
    """
    file = io.BytesIO(path.read_bytes())
    try:
        # latin1, as arrays that Python 2 has pickled need it.
        content = ArraysOnly(file, encoding="latin1").load()
    except Exception as error:  # a broken pickle can fail in any way
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{path} is no pickle of arrays alone ({reason}); it is not opened.") from error
    for key in ("model", "blobs"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}; weights are a dict of arrays by their names.")
    weights = {}
    for name, value in content.items():
        if isinstance(name, str) and name.endswith("_momentum"):
            continue
        if not isinstance(name, str) or not isinstance(value, Array) or value.value is None:
            raise ValueError(f"{path}: {str(name)[:200]} is no array of numbers but a {type(value).__name__}.")
        # A copy of its own, of this machine's order of bytes.
        weights[name] = value.value.astype(value.value.dtype.newbyteorder("="), order="C")
    if not weights:
        raise ValueError(f"{path} holds no weights.")
    return weights
