"""What the parts cost, side by side: nmODE^2, networks, exports, a step of distillation and its loader.

Calls of a group are timed in one run and in rounds (evaluation/timing.py), so that a ratio is of two medians under the
same drift of the machine. Weights are random: they do not change what is computed, but for the few boxes that NMS sees.
"""

from .speed_page import page, write
from .speed_report import SpeedReport
from .speed_run import PARTS, devices_here, measure
from .timed_networks import Setup

__all__ = ["PARTS", "Setup", "SpeedReport", "devices_here", "measure", "page", "write"]
