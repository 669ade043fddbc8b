"""Training loops: plain detectors, distillation, and the stages that join them into one run."""

from .stages import evaluate, run_distillation, train_detector
from .trainer import DistillationTrainer, MedDetTrainer

__all__ = [
    "DistillationTrainer",
    "MedDetTrainer",
    "evaluate",
    "run_distillation",
    "train_detector",
]
