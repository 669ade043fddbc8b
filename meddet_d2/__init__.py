"""MedDet (BIBM 2024) as a Detectron2 extension: distil a small disc-herniation detector on MR images.

Importing this package finds the engine and registers the project's data sets, backbones, detector,
fusions and distillation methods. The engine is Detectron2 where it is installed. Where it is not, the
small implementation of the same API in ``meddet_d2/embedded`` is put at the END of ``sys.path``, so that
it can never hide an installed Detectron2. Import this package before ``detectron2``.

Where torch is not installed nothing is registered, and ``meddet_d2.deploy`` and ``meddet_d2.formats`` alone can be
imported: they are what a deployed detector needs.
"""

import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

from . import library_settings  # noqa: F401  first: before any library is loaded

__version__ = "0.1.0"

if find_spec("torch") is not None:
    if find_spec("detectron2") is None:
        sys.path.append(str(Path(__file__).resolve().parent / "embedded"))

    with warnings.catch_warnings():
        # fvcore, and Detectron2's losses, are compiled by torch.jit.script at import, which torch calls deprecated.
        warnings.filterwarnings("ignore", "`torch.jit.script` is", FutureWarning)
        from . import data, distillation, modeling  # noqa: F401  importing them registers what they hold
        from .config import add_meddet_config, load_config

    __all__ = ["add_meddet_config", "load_config"]
