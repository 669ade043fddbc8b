"""Every test finds the engine through ``meddet_d2``, runs on few threads and draws without a display."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is imported: idle threads must not spin

import matplotlib
import torch

import meddet_d2  # noqa: F401
import detectron2

pytest_plugins = ("tiny_runs",)

matplotlib.use("Agg")
torch.set_num_threads(min(torch.get_num_threads(), 2))


def pytest_report_header() -> str:
    return f"engine: detectron2 {detectron2.__version__} @{os.path.dirname(detectron2.__file__)}"
