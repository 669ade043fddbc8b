from .card import ModelCard
from .predictor import Detections, Predictor
from .reading import Finding, Reading, overlay, read_slice

__all__ = ["Detections", "Finding", "ModelCard", "Predictor", "Reading", "overlay", "read_slice"]
