"""How good, how large and how fast the detectors are: figures, tables and pictures."""

from .comparison_pictures import draw_comparison, draw_test_images
from .detection_evaluator import DetectionEvaluator
from .evaluators import EVALUATOR_REGISTRY, evaluator_for, first_metrics, is_better_smaller, summary_columns, unit_of
from .landmarks import LandmarkEvaluator

__all__ = [
    "EVALUATOR_REGISTRY",
    "DetectionEvaluator",
    "LandmarkEvaluator",
    "draw_comparison",
    "draw_test_images",
    "evaluator_for",
    "first_metrics",
    "is_better_smaller",
    "summary_columns",
    "unit_of",
]
