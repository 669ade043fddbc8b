"""Where things lie on this machine. Without torch: the scripts that prepare data and a deployed detector use it."""

import argparse
import os
import re
from collections.abc import Callable
from pathlib import Path


def expanded(path: str) -> str:
    """A path that a person wrote, with ``~`` and ``$VARIABLES`` replaced. An address (``https://...``) stays as it is.

    Raises:
        ValueError: a variable is not set, or ``~name`` is no user of this machine.
    """
    if re.match(r"\w+://", path):
        return path
    unset = [
        name for pair in re.findall(r"\$(?:\{(\w+)\}|(\w+))", path) for name in pair if name and name not in os.environ
    ]
    if unset:
        raise ValueError(f"the path {path} names ${unset[0]}, which is not set; set it, or write the path out")
    full = os.path.expanduser(os.path.expandvars(path))
    if full.startswith("~"):
        raise ValueError(f"the path {path} begins with no user's home folder; write the path out, or ./{path}")
    return full


def given_path(text: str, find: Callable[[str], str] = expanded) -> Path:
    """A path on the command line, for argparse's ``type``: a shell leaves ``--output=~/x`` as it is."""
    try:
        return Path(find(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def datasets_root() -> Path:
    """$DETECTRON2_DATASETS, or the folder "datasets" in the working directory, as for Detectron2's own data sets.

    Raises:
        ValueError: as :func:`expanded`.
    """
    try:
        return Path(expanded(os.environ.get("DETECTRON2_DATASETS") or "datasets"))
    except ValueError as error:
        raise ValueError(f"$DETECTRON2_DATASETS: {error}") from error


def config_folder() -> Path:
    """Where this user's settings are: meddet_d2 in $XDG_CONFIG_HOME (default: ~/.config; on Windows: %APPDATA%).

    Raises:
        RuntimeError: this user has no home folder.
    """
    folder = os.environ.get("APPDATA" if os.name == "nt" else "XDG_CONFIG_HOME")
    return (Path(folder) if folder else Path("~/.config").expanduser()) / "meddet_d2"


def shipped_configs() -> Path:
    """The folder of the project's configs: in an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def find_config(name: str) -> str:
    """A config file by its path, or, where there is no such file, the project's own of that name.

    Args:
        name: a path, or a name such as "configs/meddet.yaml" or "meddet.yaml".

    Returns:
        A path, which need not exist.

    Raises:
        ValueError: as :func:`expanded`.
    """
    path = expanded(name)
    # os.path, because a name that is too long for the system is no file either.
    if name and not os.path.isfile(path) and not os.path.isabs(path):
        own = str(shipped_configs() / Path(path).as_posix().removeprefix("configs/"))
        if os.path.isfile(own):
            return own
    return path


def given_config(text: str) -> Path:
    """:func:`find_config` for argparse's ``type``."""
    return given_path(text, find_config)
