from .assigner import ATSSAssigner
from .backbones import GFLFPN, BottomUp, TopBlockP6P7, build_gfl_fpn_backbone
from .gfl import GFL
from .gfl_head import GFLHead, Integral
from .losses import distribution_focal_loss, quality_focal_loss
from .nmode import build_nmode

__all__ = [
    "GFL",
    "GFLFPN",
    "ATSSAssigner",
    "BottomUp",
    "GFLHead",
    "Integral",
    "TopBlockP6P7",
    "build_gfl_fpn_backbone",
    "build_nmode",
    "distribution_focal_loss",
    "quality_focal_loss",
]
