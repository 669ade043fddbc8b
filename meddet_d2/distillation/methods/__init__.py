"""The distillation methods, one file each, under ``DISTILLER_REGISTRY``."""

from .base import DISTILLER_REGISTRY, DistillationBatch, Distiller, build_distiller
from .meddet import MedDet

__all__ = ["DISTILLER_REGISTRY", "DistillationBatch", "Distiller", "MedDet", "build_distiller"]
