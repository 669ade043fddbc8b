from .backbones import GFLFPN, BottomUp, TopBlockP6P7, build_gfl_fpn_backbone
from .gfl.assigner import ATSSAssigner
from .gfl.gfl_detector import GFL
from .gfl.gfl_head import GFLHead, Integral
from .gfl.gfl_losses import distribution_focal_loss, quality_focal_loss
from .heatmap.hourglass import Hourglass
from .heatmap.landmark_detector import LandmarkDetector
from .nmode.nmode_block import build_nmode

__all__ = [
    "GFL",
    "GFLFPN",
    "ATSSAssigner",
    "BottomUp",
    "GFLHead",
    "Hourglass",
    "Integral",
    "LandmarkDetector",
    "TopBlockP6P7",
    "build_gfl_fpn_backbone",
    "build_nmode",
    "distribution_focal_loss",
    "quality_focal_loss",
]
