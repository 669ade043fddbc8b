"""MGD: from half-hidden maps of the student the teacher's are to be generated (Yang et al., "Masked Generative
Distillation", ECCV 2022).

Shapes in this module: K teachers, L FPN levels, N images, C channels, (H, W) the size of a level's map.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from meddet_d2.config.arguments import require

from ...distiller import DISTILLER_REGISTRY, DistillationBatch, TeacherwiseDistiller, check_not_negative, total
from ..feature_losses import align_levels, squared_difference
from ..meddet.adversarial import Generator


@DISTILLER_REGISTRY.register()
class MGD(TeacherwiseDistiller):
    """``alpha / N * sum_l ||G_l(M_l * align(S_l)) - T_l||^2``, the mean over the teachers.

    So in the published code (losses/mgd.py of the authors' repository) for one teacher. M hides each cell of a map, in
    all channels, with probability ``drop``; it is drawn anew for each map at each step. The generation block G, two 3x3
    convolutions with a ReLU between, is the same that MedDet calls its generator. A student whose maps are the
    teacher's is not at zero: G has first to learn to make them from what is not hidden.

    The loss is a sum over the map and so grows with the image.

    Args:
        student_channels, teacher_channels: of :func:`paired_channels`.
        alpha: >= 0.
        drop: in [0, 1).
        dist_schedule: in ``SCHEDULES``.
    """

    def __init__(
        self,
        *,
        student_channels: Sequence[int],
        teacher_channels: Sequence[Sequence[int]],
        alpha: float,
        drop: float,
        dist_schedule: str,
    ):
        super().__init__({"loss_dist": alpha}, dist_schedule)
        check_not_negative(MGD_ALPHA=alpha)
        require(0 <= drop < 1, "DISTILL.MGD.DROP", drop, "a probability, at least 0 and below 1")
        self.drop = drop
        self.alignment = nn.ModuleList(align_levels(student_channels, channels) for channels in teacher_channels)
        self.generation = nn.ModuleList(
            nn.ModuleList(Generator(channels=c) for c in channels) for channels in teacher_channels
        )

    def terms(self, batch: DistillationBatch) -> Iterator[Sequence[Tensor]]:
        teachers: Any = zip(self.alignment, self.generation, batch.teachers, strict=True)
        for alignment, generation, teacher in teachers:
            levels = zip(alignment, generation, batch.student.features, teacher.features, strict=True)
            squared = [squared_difference(g(self.hide(align(s))), t) for align, g, s, t in levels]
            yield [total(x.sum() / len(x) for x in squared)]

    def hide(self, feature: Tensor) -> Tensor:
        """Set random cells of (N, C, H, W) to zero. Unlike dropout's, what stays keeps its value."""
        n, _, height, width = feature.shape
        kept = torch.rand(n, 1, height, width, device=feature.device) >= self.drop
        return feature * kept
