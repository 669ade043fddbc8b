"""The methods that MedDet is compared with."""

from .fgd import FGD
from .fitnets import FitNets
from .ld import LD
from .mgd import MGD

__all__ = ["FGD", "LD", "MGD", "FitNets"]
