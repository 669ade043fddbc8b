"""OKDHP's loss: heat maps as distributions over an image's cells (Li et al., "Online Knowledge Distillation for
Efficient Pose Estimation", ICCV 2021).

Shapes in this module: N images, K landmarks, (h, w) the size of a heat map in cells.
"""

import math
from typing import Any

import torch
from torch import Tensor

from ...distiller import DISTILLER_REGISTRY, DistillationBatch, check_not_negative
from ..heatmap_distiller import HeatmapDistiller, spatial_divergence, teacher_heatmaps


@DISTILLER_REGISTRY.register()
class OKDHP(HeatmapDistiller):
    """``L_gt + weight * ramp * KL``, with KL as in :func:`spatial_divergence` and ``ramp = exp(-5 (1 - progress)^2)``.

    Loss, weight and ramp are those of the published code. The method is not: there, branches of one network teach each
    other through their ensemble. Here a trained teacher takes the ensemble's place, so that all methods have the same
    one. The last heat map is compared, that of the prediction. It is the mean over the teachers.

    Args:
        criterion, dist_schedule: see :class:`HeatmapDistiller`.
        weight: >= 0.
    """

    def __init__(self, *, criterion: Any, weight: float, dist_schedule: str):
        super().__init__(criterion=criterion, dist_schedule=dist_schedule)
        check_not_negative(OKDHP_WEIGHT=weight)
        self.weight = weight

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        """The student's losses as they are, and "loss_imitation" of the heat maps."""
        ours, truth = batch.student.outputs[-1], batch.targets
        apart = torch.stack([spatial_divergence(ours, target, truth) for target in teacher_heatmaps(batch)]).mean()
        ramp = math.exp(-5 * (1 - batch.progress) ** 2)
        return {**batch.student.losses, "loss_imitation": self.factor(batch) * self.weight * ramp * apart}
