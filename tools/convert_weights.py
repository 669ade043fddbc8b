#!/usr/bin/env python
r"""Convert a .pkl of weights, such as Detectron2's model zoo has, to safetensors, without running what it may hold.

    python tools/convert_weights.py R-50.pkl R-50.safetensors

A pickle is a program. This reads only those that build numpy arrays and Python's own containers, numbers and texts, and
refuses any other before it does anything. Names stay as they are; the optimizer's momenta are left out.
"""

import argparse
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from meddet_d2.files import replacing

# What pickles of arrays name, under numpy's module names of all times.
ALLOWED = {
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),  # how protocol 2 writes bytes
    *((module, name) for module in ("numpy", "numpy.core.multiarray") for name in ("ndarray", "dtype")),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}
MISTAKES = (ValueError, OSError)


class ArraysOnly(pickle.Unpickler):
    """An unpickler that can name nothing but numpy's arrays and their types."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)

    def persistent_load(self, identifier: Any) -> Any:
        raise pickle.UnpicklingError("it refers to data outside of it")


def parse_args(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=Path, metavar="PKL", help="the pickle of arrays")
    parser.add_argument("output", type=Path, metavar="SAFETENSORS", help="where the weights go, *.safetensors")
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    return parser.parse_args(arguments)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a pickle by their names: of the file itself, or of its "model" or "blobs".

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds anything else; one line.
    """
    with open(path, "rb") as file:
        try:
            # latin1, as arrays that Python 2 has pickled need it.
            content = ArraysOnly(file, encoding="latin1").load()
        except OSError:
            raise
        except Exception as error:  # a broken pickle can fail in any way
            reason = " ".join(str(error).split()) or type(error).__name__
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
        if not isinstance(name, str) or not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
            raise ValueError(f"{path}: {name} is no array of numbers but a {type(value).__name__}.")
        weights[name] = np.asarray(value, order="C")
    if not weights:
        raise ValueError(f"{path} holds no weights.")
    return weights


def run(args: argparse.Namespace) -> None:
    if args.output.suffix != ".safetensors":
        raise ValueError(f"{args.output} must end in .safetensors.")
    if args.output.exists() and not args.force:
        raise ValueError(f"{args.output} exists; add --force to replace it.")
    weights = read_arrays(args.input)
    with replacing(args.output) as temporary:
        save_file(weights, temporary)
    print(f"{args.output}: {len(weights)} arrays, {sum(value.size for value in weights.values()):,} numbers")


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    try:
        run(parse_args(arguments))
    except MISTAKES as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
