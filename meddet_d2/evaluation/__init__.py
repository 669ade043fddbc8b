"""How good, how large and how fast the detectors are: figures, tables and pictures."""

from .comparison_pictures import draw_comparison, draw_test_images
from .detection_evaluator import DetectionEvaluator
from .summary import NetworkRow, measure_throughput

__all__ = [
    "DetectionEvaluator",
    "NetworkRow",
    "draw_comparison",
    "draw_test_images",
    "measure_throughput",
]
