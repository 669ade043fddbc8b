"""The distillation methods, one file each, under ``DISTILLER_REGISTRY``."""

from .baselines.fgd import FGD
from .baselines.fitnets import FitNets
from .baselines.ld import LD
from .baselines.mgd import MGD
from .meddet.meddet_distiller import MedDet

__all__ = ["FGD", "LD", "MGD", "FitNets", "MedDet"]
