"""How good, how large and how fast the detectors are: figures, tables and pictures."""

from .detection import DetectionEvaluator
from .pictures import draw_comparison, draw_test_images
from .summary import NetworkRow, measure_throughput

__all__ = [
    "DetectionEvaluator",
    "NetworkRow",
    "draw_comparison",
    "draw_test_images",
    "measure_throughput",
]
