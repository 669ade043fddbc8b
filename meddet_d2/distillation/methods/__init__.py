"""The distillation methods, one file each, under ``DISTILLER_REGISTRY``."""

from ..distiller import DISTILLER_REGISTRY, DistillationBatch, Distiller, build_distiller
from .baselines.fgd import FGD
from .baselines.fitnets import FitNets
from .baselines.ld import LD
from .baselines.mgd import MGD
from .meddet.meddet_distiller import MedDet

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
