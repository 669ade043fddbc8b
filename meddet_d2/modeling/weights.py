"""Loading a detector's weights: all of them, or an error that says what does not fit."""

import json
import logging
import pickle
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

logger = logging.getLogger(__name__)

# How torch and safetensors say that a file is damaged or is something else.
UNREADABLE = (
    *(pickle.UnpicklingError, SafetensorError, struct.error, zipfile.BadZipFile, RuntimeError, EOFError, OSError),
    *(ValueError, TypeError, LookupError, AttributeError, AssertionError, OverflowError, MemoryError),
)
# Under this key a checkpoint names its classes.
CLASSES = "classes"
# How files end that hold a plain pickle: Detectron2's zoo, pycls', and others'.
PICKLES = (".pkl", ".pickle", ".pyth")


def load_detector_weights(model: nn.Module, path: str, classes: Sequence[str] | None = None) -> None:
    """Load a checkpoint into ``model``: everything or an error.

    Reads Detectron2's ``{"model": ...}`` and plain state dicts (.pth, opened without running pickled code) and
    safetensors. The weights go to the device where the model is. ``classes`` are those that the file must have.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, is not all finite, or belongs to another architecture or other classes;
            one line naming the file.
    """
    checkpoint = read_checkpoint(path)
    check_classes(path, checkpoint.classes, classes)
    set_weights(model, checkpoint.weights, path)


class Checkpoint(NamedTuple):
    """A file's weights, the names of the detector's classes where the file has them, and what else it holds."""

    weights: dict[str, Tensor]
    classes: tuple[str, ...] | None
    rest: dict[str, Any]


def read_checkpoint(path: str) -> Checkpoint:
    """What is in a .pth, by itself or under "model", or in a .safetensors; no pickled code is run.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, is a pickle or holds no state dict.
    """
    refuse_pickle(path)
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist; correct the path or train it first.")
    try:
        if path.endswith(".safetensors"):
            with safe_open(path, framework="pt") as file:
                classes = json.loads((file.metadata() or {}).get(CLASSES, "null"))
                names = file.keys()  # it cannot be iterated itself
                content = {"model": {name: file.get_tensor(name) for name in names}, CLASSES: classes}
        else:
            refuse_packed(path)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise ValueError(
            f"{path} cannot be read as a checkpoint of weights alone (.pth or .safetensors); "
            "it may be damaged: make it again."
        ) from error
    if isinstance(content, dict) and "model" not in content:
        content = {"model": content}
    weights = content.pop("model") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ValueError(f"{path} holds no state dict, neither by itself nor under 'model'; save model.state_dict().")
    classes = content.pop(CLASSES, None)
    if classes is not None and not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
        raise ValueError(f"{path}: its classes are {str(classes)[:60]}, no list of names; make it again.")
    return Checkpoint(weights, None if classes is None else tuple(classes), content)


def check_classes(path: str, theirs: Sequence[str] | None, ours: Sequence[str] | None) -> None:
    """Raise ValueError if a checkpoint's classes are not those of the data; None says nothing.

    Args:
        path: the checkpoint.
        theirs: its classes.
        ours: those of the data set.
    """
    if theirs is not None and ours is not None and list(theirs) != list(ours):
        raise ValueError(
            f"{path}: its network knows {list(theirs)}, the data set has {list(ours)}; give the data set "
            "that it was trained on, or train again."
        )


def refuse_pickle(path: str) -> None:
    """Raise a ValueError with the command that converts it if ``path`` ends as a pickle does."""
    if Path(path).suffix.lower() in PICKLES:
        raise ValueError(
            f"{path} is a pickle, which can run any code when it is opened; convert it: "
            f"meddet convert-weights {path} {Path(path).with_suffix('.safetensors')}"
        )


def refuse_packed(path: str) -> None:
    """Raise a ValueError if a .pth is compressed: torch writes none, and a small one could unpack to any size."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
                raise ValueError(f"{path} is compressed, as torch writes no checkpoint.")


def set_weights(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Load a state dict into ``model``; ``source`` is the file that an error names.

    Of weights that training alone needs (``model.training_only``) a model takes all that it has. What it has not is
    left out, which the log says.

    Raises:
        ValueError: the weights are those of another architecture, or not all finite.
    """
    expected, weights = model.state_dict(), _without_training_only(model, weights, source)
    shared = weights.keys() & expected.keys()
    faults = {
        "missing": sorted(expected.keys() - shared),
        "unexpected": sorted(weights.keys() - shared),
        "of another shape": [
            f"{name}: {tuple(weights[name].shape)} in the file, {tuple(expected[name].shape)} in the model"
            for name in sorted(shared)
            if weights[name].shape != expected[name].shape
        ],
    }
    found = [f"{len(names)} {kind} (first: {names[0]})" for kind, names in faults.items() if names]
    if found:
        raise ValueError(
            f"{source} holds the weights of another architecture: {', '.join(found)}; "
            "use the config that it was trained with, and its INPUT.MAX_SIZE_* if the network takes one size of image."
        )
    spoilt = [name for name in sorted(weights) if not torch.isfinite(weights[name]).all()]
    if spoilt:
        raise ValueError(
            f"{source} holds infinite or NaN values in {spoilt[0]}; train it again or take an older checkpoint."
        )
    model.load_state_dict(weights)


def _without_training_only(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    expected, beginnings = model.state_dict(), tuple(getattr(model, "training_only", ()))
    extra = [name for name in weights if name.startswith(beginnings) and name not in expected] if beginnings else []
    if extra:
        logger.info("%s: %d weights that training alone needs are left out (%s, ...).", source, len(extra), extra[0])
    return {name: value for name, value in weights.items() if name not in extra}
