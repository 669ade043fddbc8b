"""Training loops: plain detectors, distillation, and the stages that join them into one run."""

from .distillation_hooks import DiscriminatorHook
from .stages import evaluate, run_distillation, train_detector
from .trainer import DistillationTrainer, MedDetTrainer

__all__ = [
    "DiscriminatorHook",
    "DistillationTrainer",
    "MedDetTrainer",
    "evaluate",
    "run_distillation",
    "train_detector",
]
