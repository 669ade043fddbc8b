"""FitNets: the student's maps are to be the teacher's (Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015).

Shapes in this module: K teachers, L FPN levels, N images, C channels, (H, W) the size of a level's map.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...distiller import (
    DISTILLER_REGISTRY,
    SCHEDULES,
    DistillationBatch,
    Distiller,
    check_not_negative,
    check_schedule,
    paired_channels,
    total,
)
from ..feature_losses import squared_difference


@DISTILLER_REGISTRY.register()
class FitNets(Distiller):
    """``weight * sum_l mean((r_l(S_l) - T_l)^2)``, the mean over the teachers.

    The paper's regressor r is here a 1x1 convolution on each of the student's maps. It starts as the
    identity where the channels agree, which compares the maps themselves.

    What differs from the paper, as usual where FitNets serve detectors: the paper takes one hint layer in the middle of
    a classifier, trains the student up to it first, with half the squared norm, and distils the classes afterwards.
    Here all FPN maps are hints, from the first step to the last and beside the detection loss, as a mean instead of a
    norm; nothing of the classes is distilled. The weight, 2, is that of LD's code for its baseline of this name.
    That one compares the cells inside of boxes; this one compares all cells.

    Args:
        student_channels: channels of the student's L maps.
        teacher_channels: for each of K teachers those of its L maps.
        weight: >= 0.
        dist_schedule: in ``SCHEDULES``.

    Raises:
        ValueError: an argument outside its range, by the name of its config key.
    """

    def __init__(
        self,
        *,
        student_channels: Sequence[int],
        teacher_channels: Sequence[Sequence[int]],
        weight: float,
        dist_schedule: str,
    ):
        super().__init__()
        check_not_negative(FITNETS_WEIGHT=weight)
        check_schedule(dist_schedule)
        self.weight = weight
        self.dist_schedule = dist_schedule
        self.regressors = nn.ModuleList(
            nn.ModuleList(_regressor(c1, c2) for c1, c2 in zip(student_channels, channels, strict=True))
            for channels in teacher_channels
        )

    @classmethod
    def from_config(cls, cfg, student: nn.Module, teachers) -> dict:
        return {
            **paired_channels(student, teachers),
            "weight": cfg.DISTILL.FITNETS.WEIGHT,
            "dist_schedule": cfg.DISTILL.DIST_SCHEDULE,
        }

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        """Compute the losses of one step; see :class:`Distiller`.

        Returns:
            The student's losses as they are, and "loss_dist".
        """
        per_teacher = []
        teachers: Any = zip(self.regressors, batch.teachers, strict=True)
        for regressors, teacher in teachers:
            levels = zip(regressors, batch.student.features, teacher.features, strict=True)
            per_teacher.append(total(squared_difference(r(s), t).mean() for r, s, t in levels))
        loss = torch.stack(per_teacher).mean()
        factor = self.weight * SCHEDULES[self.dist_schedule](batch.progress)
        return {**batch.student.losses, "loss_dist": factor * loss}


def _regressor(in_channels: int, out_channels: int) -> nn.Conv2d:
    conv: Any = nn.Conv2d(in_channels, out_channels, kernel_size=1)
    if in_channels == out_channels:
        nn.init.dirac_(conv.weight)
        nn.init.zeros_(conv.bias)
    return conv
