"""FPD: the student's heat maps are to be the teacher's (Zhang et al., "Fast Human Pose Estimation", CVPR 2019).

Shapes in this module: N images, K landmarks, (h, w) the size of a heat map in cells.
"""

from typing import Any

from torch import Tensor

from meddet_d2.config.arguments import require

from ...distiller import DISTILLER_REGISTRY, DistillationBatch
from ..heatmap_distiller import HeatmapDistiller, scaled


@DISTILLER_REGISTRY.register()
class FPD(HeatmapDistiller):
    """``L = (1 - a) L_gt + a L_heat``, Fast Pose Distillation's equation 3: of the teacher its output alone.

    L_heat compares heat maps as L_gt does, half the squared error as published. All of the student's stacks have the
    teacher's last heat map as their target, and their losses are added up. It is the mean over the teachers; published
    is one.

    Args:
        criterion, dist_schedule: see :class:`HeatmapDistiller`; the schedule is a factor of a.
        alpha: a, in [0, 1].
    """

    row_keys = ("DISTILL.FPD.ALPHA",)

    def __init__(self, *, criterion: Any, alpha: float, dist_schedule: str):
        super().__init__(criterion=criterion, dist_schedule=dist_schedule)
        require(0 <= alpha <= 1, "DISTILL.FPD.ALPHA", alpha, "in [0, 1]")
        self.alpha = alpha

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        """The student's own losses, and "loss_imitation" of the heat maps."""
        share = self.factor(batch) * self.alpha
        return {**scaled(batch.student.losses, 1 - share), "loss_imitation": share * self.heat_loss(batch)}
