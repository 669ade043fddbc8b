from .card import ModelCard
from .predictor import Detections, Predictor

__all__ = ["Detections", "ModelCard", "Predictor"]
