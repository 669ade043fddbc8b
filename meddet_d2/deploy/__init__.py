from .card import ModelCard
from .found import Detections, Landmarks
from .predictor import Predictor
from .reading import Finding, Reading, overlay, read_slice

__all__ = ["Detections", "Finding", "Landmarks", "ModelCard", "Predictor", "Reading", "overlay", "read_slice"]
