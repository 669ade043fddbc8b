"""How far predicted landmarks are from the true ones: figures, intervals by patient, pictures and a page."""

from .landmark_evaluator import LandmarkEvaluator
from .landmark_truth import LandmarkTruth, truth_of_json, truth_of_records

__all__ = ["LandmarkEvaluator", "LandmarkTruth", "truth_of_json", "truth_of_records"]
