"""The distillation methods, one file each, under ``DISTILLER_REGISTRY``."""

from .base import DISTILLER_REGISTRY, DistillationBatch, Distiller, build_distiller
from .fgd import FGD
from .fitnets import FitNets
from .ld import LD
from .meddet import MedDet
from .mgd import MGD

__all__ = [
    "DISTILLER_REGISTRY",
    "FGD",
    "LD",
    "MGD",
    "DistillationBatch",
    "Distiller",
    "FitNets",
    "MedDet",
    "build_distiller",
]
