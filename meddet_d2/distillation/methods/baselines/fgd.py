"""FGD: imitation weighed by attention, inside and outside of the boxes apart, and of each map as a whole (Yang et al.,
"Focal and Global Knowledge Distillation for Detectors", CVPR 2022).

Shapes in this module: K teachers, L FPN levels, N images, G boxes of an image, C channels, (H, W) the size of a map.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from meddet_d2.config.arguments import require

from ...distiller import (
    DISTILLER_REGISTRY,
    DistillationBatch,
    TeacherwiseDistiller,
    check_not_negative,
    require_result,
    total,
)
from ...tasks import task_of
from ..feature_losses import align_levels, box_masks, full_precision, squared_difference

TERMS = ("loss_foreground", "loss_background", "loss_attention", "loss_relation")


@DISTILLER_REGISTRY.register()
class FGD(TeacherwiseDistiller):
    """Focal and global distillation, all terms summed over the map and the levels and divided by N.

    Focal: ``alpha * sum(fg A (S - T)^2) + beta * sum(bg A (S - T)^2)``, where A is the product of the teacher's spatial
    and channel attention (:func:`attentions`) and fg, bg are the masks of :func:`box_masks`; and ``gamma`` times the L1
    distance of the student's attentions from the teacher's. Global: ``lambda`` times the squared difference of the
    maps after a :class:`GlobalContext` on either side. S is aligned first. All is the mean over the teachers.

    So in the published code (losses/fgd.py of the authors' repository) for one teacher, but for two things in
    :func:`~.feature_losses.box_masks`. Both GlobalContexts learn, the teacher's too, as there.

    Args:
        student_channels, teacher_channels: of :func:`paired_channels`.
        strides: of the L levels, in pixels.
        temperature: of the attentions, > 0.
        alpha, beta, gamma, lambda_: weights >= 0.
        dist_schedule: in ``SCHEDULES``.
    """

    def __init__(
        self,
        *,
        student_channels: Sequence[int],
        teacher_channels: Sequence[Sequence[int]],
        strides: Sequence[int],
        temperature: float,
        alpha: float,
        beta: float,
        gamma: float,
        lambda_: float,
        dist_schedule: str,
    ):
        super().__init__(dict(zip(TERMS, (alpha, beta, gamma, lambda_), strict=True)), dist_schedule)
        check_not_negative(FGD_ALPHA=alpha, FGD_BETA=beta, FGD_GAMMA=gamma, FGD_LAMBDA=lambda_)
        require(temperature > 0, "DISTILL.FGD.TEMPERATURE", temperature, "greater than 0")
        self.strides = tuple(strides)
        self.temperature = temperature
        self.alignment = nn.ModuleList(align_levels(student_channels, channels) for channels in teacher_channels)
        self.student_context = _contexts(teacher_channels)
        self.teacher_context = _contexts(teacher_channels)

    @classmethod
    def from_config(cls, cfg, student: nn.Module, teachers) -> dict:
        require_result(student, "boxes", "FGD", "boxes")
        strides = [shape.stride for shape in task_of(student).shapes(student)]
        return {**super().from_config(cfg, student, teachers), "strides": strides}

    def terms(self, batch: DistillationBatch) -> Iterator[Sequence[Tensor]]:
        student = batch.student.features
        masks = [box_masks(batch.targets, s, x.shape[-2:]) for s, x in zip(self.strides, student, strict=True)]
        of_teachers: Any = zip(self.alignment, self.student_context, self.teacher_context, batch.teachers, strict=True)
        for *modules, teacher in of_teachers:
            levels = zip(student, teacher.features, masks, *modules, strict=True)
            terms = [self.compare(align(s), t, mask, contexts) for s, t, mask, align, *contexts in levels]
            yield torch.stack(terms).sum(dim=0).unbind()

    def compare(
        self, student: Tensor, teacher: Tensor, masks: tuple[Tensor, Tensor], contexts: Sequence[nn.Module]
    ) -> Tensor:
        """The four terms of one level before their weights, (4,) in the order of ``TERMS``.

        Args:
            student: (N, C, H, W), aligned.
            teacher: (N, C, H, W).
            masks: foreground and background, each (N, 1, H, W).
            contexts: the student's and the teacher's GlobalContext.
        """
        squared = squared_difference(student, teacher)
        student_attention, teacher_attention = (attentions(x, self.temperature) for x in (student, teacher))
        weighed = squared * teacher_attention[0] * teacher_attention[1]
        terms = [(mask * weighed).sum() for mask in masks]
        pairs = zip(student_attention, teacher_attention, strict=True)
        terms.append(total((ours - theirs).abs().sum() for ours, theirs in pairs))
        terms.append(squared_difference(contexts[0](student), contexts[1](teacher)).sum())
        return torch.stack(terms) / len(student)


class GlobalContext(nn.Module):
    """GcBlock (Cao et al., ICCVW 2019): adds to every cell what the whole map says.

    ``x + W2(ReLU(LayerNorm(W1(sum_j softmax_j(Wk x_j) x_j))))``. W2 starts at zero, so at the start nothing is added.

    Args:
        channels: C, at least 2; half of it in between.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.where = nn.Conv2d(channels, 1, kernel_size=1)
        self.transform = nn.Sequential(
            nn.Conv2d(channels, channels // 2, kernel_size=1),
            nn.LayerNorm([channels // 2, 1, 1]),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels // 2, channels, kernel_size=1),
        )
        nn.init.kaiming_normal_(self.where.weight, mode="fan_in", nonlinearity="relu")
        for parameter in (self.where.get_parameter("bias"), *self.transform[-1].parameters()):
            nn.init.zeros_(parameter)

    def forward(self, feature: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        where = full_precision(self.where(feature)).flatten(2).softmax(dim=-1)  # (N, 1, H * W)
        context = (full_precision(feature).flatten(2) * where).sum(dim=-1)[..., None, None]  # (N, C, 1, 1)
        return feature + self.transform(context)


def attentions(feature: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Where and in which channels a map is strong: softmaxes of mean absolute values, with mean 1.

    Args:
        feature: (N, C, H, W).
        temperature: > 0.

    Returns:
        Spatial attention (N, 1, H, W), which sums to H * W, and channel attention (N, C, 1, 1), which sums to C.
    """
    n, channels, height, width = feature.shape
    strength = full_precision(feature).abs()
    spatial = (strength.mean(dim=1).flatten(1) / temperature).softmax(dim=1) * (height * width)
    channel = (strength.mean(dim=(2, 3)) / temperature).softmax(dim=1) * channels
    return spatial.view(n, 1, height, width), channel.view(n, channels, 1, 1)


def _contexts(teacher_channels: Sequence[Sequence[int]]) -> nn.ModuleList:
    return nn.ModuleList(nn.ModuleList(GlobalContext(c) for c in channels) for channels in teacher_channels)
