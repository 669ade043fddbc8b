"""Where things lie on this machine. Without torch: the scripts that prepare data and a deployed detector use it."""

import os
from pathlib import Path


def datasets_root() -> Path:
    """$DETECTRON2_DATASETS, or the folder "datasets" in the working directory, as for Detectron2's own data sets."""
    return Path(os.environ.get("DETECTRON2_DATASETS") or "datasets").expanduser()


def config_folder() -> Path:
    """Where this user's settings are: meddet_d2 in $XDG_CONFIG_HOME (default: ~/.config; on Windows: %APPDATA%).

    Raises:
        RuntimeError: this user has no home folder.
    """
    folder = os.environ.get("APPDATA" if os.name == "nt" else "XDG_CONFIG_HOME")
    return (Path(folder) if folder else Path("~/.config").expanduser()) / "meddet_d2"
