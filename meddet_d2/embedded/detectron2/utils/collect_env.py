"""What a bug report needs to say."""

import os
import platform
import sys
from importlib.metadata import version

import torch
from tabulate import tabulate

import detectron2

_LIBRARIES = ("torchvision", "numpy", "fvcore", "iopath", "pycocotools", "pillow", "matplotlib")


def collect_env_info() -> str:
    """A table of the engine, the libraries' versions and the hardware."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    rows = [
        ("engine", f"detectron2 {detectron2.__version__} @{os.path.dirname(detectron2.__file__)}"),
        ("Python", f"{platform.python_version()} @{sys.executable} on {platform.platform()}"),
        ("torch", torch.__version__),
        *((name, version(name)) for name in _LIBRARIES),
        ("CPU", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads for torch"),
        ("GPU", f"{', '.join(gpus)}; CUDA {torch.version.cuda}" if gpus else "none"),
    ]
    return tabulate(rows)
