"""MedDet (BIBM 2024) as a Detectron2 extension: distil a small disc-herniation detector on MR images.

Importing this package finds the engine and registers the project's data sets, backbones, detector,
fusions and distillation methods. The engine is Detectron2 where it is installed. Where it is not, the
small implementation of the same API in ``meddet_d2/embedded`` is put at the END of ``sys.path``, so that
it can never hide an installed Detectron2. Import this package before ``detectron2``.

Where torch is not installed nothing is registered, and ``meddet_d2.deploy`` and ``meddet_d2.formats`` alone can be
imported: they are what a deployed detector needs.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

__version__ = "0.1.0"

# Since 1.29 onnxruntime's packages for Linux tell their maker of every model that is loaded, unless this is set before
# they are imported; its switch in Python comes too late.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

if find_spec("torch") is not None:
    if find_spec("detectron2") is None:
        sys.path.append(str(Path(__file__).resolve().parent / "embedded"))

    from . import data, distillation, modeling  # noqa: F401  importing them registers what they hold
    from .config import add_meddet_config, load_config

    __all__ = ["add_meddet_config", "load_config"]
