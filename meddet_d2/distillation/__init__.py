"""Distillation: several frozen teachers, one student, and what stands between them in training."""

from .head_outputs import HeadOutputs, Regions, localization_regions
from .methods import DISTILLER_REGISTRY, DistillationBatch, Distiller, build_distiller
from .methods.meddet.adversarial import Discriminator, Generator
from .methods.meddet.alignment import AdaptiveFeatureAlignment
from .methods.meddet.fusion import FUSION_REGISTRY, build_fusion
from .step import DistillationModel
from .taps import FeatureTap
from .teachers import TeacherBank, load_detector_weights

__all__ = [
    "DISTILLER_REGISTRY",
    "FUSION_REGISTRY",
    "AdaptiveFeatureAlignment",
    "Discriminator",
    "DistillationBatch",
    "DistillationModel",
    "Distiller",
    "FeatureTap",
    "Generator",
    "HeadOutputs",
    "Regions",
    "TeacherBank",
    "build_distiller",
    "build_fusion",
    "load_detector_weights",
    "localization_regions",
]
