"""The distillation methods, one file each, under ``DISTILLER_REGISTRY``."""

from .baselines.dwpose import DWPose
from .baselines.fgd import FGD
from .baselines.fitnets import FitNets
from .baselines.fpd import FPD
from .baselines.ld import LD
from .baselines.mgd import MGD
from .baselines.okdhp import OKDHP
from .fsf_ld.fsf_ld_distiller import FSFLD
from .meddet.meddet_distiller import MedDet

__all__ = ["FGD", "FPD", "FSFLD", "LD", "MGD", "OKDHP", "DWPose", "FitNets", "MedDet"]
