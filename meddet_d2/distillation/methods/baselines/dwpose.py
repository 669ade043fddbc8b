"""DWPose's first stage: the last map and the output (Yang et al., "Effective Whole-body Pose Estimation with Two-stages
Distillation", ICCV workshops 2023).

Shapes in this module: N images, K landmarks, C channels, (H, W) the size of a map.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...distiller import DISTILLER_REGISTRY, DistillationBatch, check_not_negative
from ..feature_losses import regressors, squared_difference
from ..heatmap_distiller import HeatmapDistiller, spatial_divergence, teacher_heatmaps


@DISTILLER_REGISTRY.register()
class DWPose(HeatmapDistiller):
    """``L_gt + f * (alpha * mean((r(S) - T)^2) + beta * KL)``, f the schedule's factor, "linear" as published.

    S and T are the maps that the predictions are made of, r a 1x1 convolution. What differs from the published code:

    - It adds up squares over a map of 1024 x 8 x 6 values, by 7e-5. ``alpha`` is that weight of their mean, 3.44, so
      that it does not grow with the image.
    - Its networks give a distribution over x and one over y. These give heat maps, so KL is that of
      :func:`spatial_divergence`.
    - The second stage, in which the head teaches itself, is left out, for it has no other teacher.

    All is the mean over the teachers; published is one.

    Args:
        student_channels, teacher_channels: of :func:`paired_channels`.
        criterion, dist_schedule: see :class:`HeatmapDistiller`.
        deepest: index of the map that the prediction is made of.
        alpha, beta: >= 0.
    """

    def __init__(
        self,
        *,
        student_channels: Sequence[int],
        teacher_channels: Sequence[Sequence[int]],
        criterion: Any,
        deepest: int,
        alpha: float,
        beta: float,
        dist_schedule: str,
    ):
        super().__init__(criterion=criterion, dist_schedule=dist_schedule)
        check_not_negative(DWPOSE_ALPHA=alpha, DWPOSE_BETA=beta)
        self.deepest, self.alpha, self.beta = deepest, alpha, beta
        ours, theirs = student_channels[deepest], [channels[deepest] for channels in teacher_channels]
        self.adapters: nn.ModuleList = regressors([ours] * len(theirs), theirs)

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        """The student's losses as they are, "loss_dist" of the maps, and "loss_imitation" of the heat maps."""
        factor, student, truth = self.factor(batch), batch.student, batch.targets
        shown = [teacher.features[self.deepest] for teacher in batch.teachers]
        pairs = zip(self.adapters, shown, strict=True)
        maps = [squared_difference(adapter(student.features[self.deepest]), target).mean() for adapter, target in pairs]
        apart = [spatial_divergence(student.outputs[-1], target, truth) for target in teacher_heatmaps(batch)]
        return {
            **student.losses,
            "loss_dist": factor * self.alpha * torch.stack(maps).mean(),
            "loss_imitation": factor * self.beta * torch.stack(apart).mean(),
        }
