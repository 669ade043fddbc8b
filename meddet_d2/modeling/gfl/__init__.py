"""GFL: its head, losses, assignment and decoding."""

from .assigner import ATSSAssigner
from .gfl_detector import GFL
from .gfl_head import GFLHead, Integral
from .gfl_losses import distribution_focal_loss, quality_focal_loss

__all__ = ["GFL", "ATSSAssigner", "GFLHead", "Integral", "distribution_focal_loss", "quality_focal_loss"]
