"""FitNets: the student's maps are to be the teacher's (Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015).

Shapes in this module: K teachers, L FPN levels, N images, C channels, (H, W) the size of a level's map.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from ...distiller import DISTILLER_REGISTRY, DistillationBatch, TeacherwiseDistiller, check_not_negative, total
from ..feature_losses import regressors, squared_difference


@DISTILLER_REGISTRY.register()
class FitNets(TeacherwiseDistiller):
    """``weight * sum_l mean((r_l(S_l) - T_l)^2)``, the mean over the teachers.

    The paper's regressor r is here a 1x1 convolution on each of the student's maps. It starts as the
    identity where the channels agree, which compares the maps themselves.

    What differs from the paper, as usual where FitNets serve detectors: the paper takes one hint layer in the middle of
    a classifier, trains the student up to it first, with half the squared norm, and distils the classes afterwards.
    Here all FPN maps are hints, from the first step to the last and beside the detection loss, as a mean instead of a
    norm; nothing of the classes is distilled. The weight, 2, is that of LD's code for its baseline of this name.
    That one compares the cells inside of boxes; this one compares all cells.

    Args:
        student_channels, teacher_channels: of :func:`paired_channels`.
        weight: >= 0.
        dist_schedule: in ``SCHEDULES``.
    """

    def __init__(
        self,
        *,
        student_channels: Sequence[int],
        teacher_channels: Sequence[Sequence[int]],
        weight: float,
        dist_schedule: str,
    ):
        super().__init__({"loss_dist": weight}, dist_schedule)
        check_not_negative(FITNETS_WEIGHT=weight)
        self.regressors = nn.ModuleList(regressors(student_channels, channels) for channels in teacher_channels)

    def terms(self, batch: DistillationBatch) -> Iterator[Sequence[Tensor]]:
        teachers: Any = zip(self.regressors, batch.teachers, strict=True)
        for hints, teacher in teachers:
            levels = zip(hints, batch.student.features, teacher.features, strict=True)
            yield [total(squared_difference(r(s), t).mean() for r, s, t in levels)]
