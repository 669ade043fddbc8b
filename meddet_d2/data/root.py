"""Where data sets lie. Apart from builtin.py, because the scripts that prepare data need it without torch."""

import os
from pathlib import Path


def datasets_root() -> Path:
    """$DETECTRON2_DATASETS, or the folder "datasets" in the working directory, as for Detectron2's own data sets."""
    return Path(os.environ.get("DETECTRON2_DATASETS") or "datasets").expanduser()
