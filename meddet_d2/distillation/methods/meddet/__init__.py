"""MedDet: three teachers, aligned and fused, and an adversary."""

from .adversarial import Discriminator, Generator
from .alignment import AdaptiveFeatureAlignment
from .fusion import FUSION_REGISTRY, build_fusion
from .meddet_distiller import MedDet

__all__ = ["FUSION_REGISTRY", "AdaptiveFeatureAlignment", "Discriminator", "Generator", "MedDet", "build_fusion"]
