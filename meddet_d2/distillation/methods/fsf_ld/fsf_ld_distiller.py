"""FSF-LD: the student learns from labels, from its teacher's heat map, and from features at several depths.

(Huang et al., Electronics 2022, 11(15), 2337.) The paper's
formulas cannot be read; these are this project's, and docs/methods/fsf_ld.md gives the ground of each.

Shapes in this module: T teachers, L maps of a network, N images, C channels, (H, W) the size of a map.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from meddet_d2.config.arguments import require
from meddet_d2.hardware.processes import mean_over_processes

from ...distiller import DISTILLER_REGISTRY, DistillationBatch, check_not_negative, total
from ..feature_losses import full_precision, regressors, squared_difference
from ..heatmap_distiller import HeatmapDistiller, scaled

# Of a variance: a channel that is constant in an image stays so.
EPSILON = 1e-5


@DISTILLER_REGISTRY.register()
class FSFLD(HeatmapDistiller):
    """``L = (1 - a) L_gt + a L_heat + b L_feat``; with a schedule both a and b are multiplied by its factor.

    - L_gt: the student's own losses.
    - L_heat: its heat maps against the teacher's, as in Fast Pose Distillation.
    - L_feat: ``mean over levels of mean((standardise(r_l(S_l)) - standardise(T_l))^2)``, r_l a 1x1 convolution.

    b is ``beta * L_gt / L_feat`` of the first step that has a landmark, and stays so: the two begin alike whatever the
    networks' scale. It is part of the distiller's state, so that a resumed run goes on with it.

    With a shared head there is a fourth term: the loss of the teacher's frozen head on the projected map r(S) that it
    would make its prediction of. All is the mean over the teachers. The student's deployment knows nothing of r.

    Args:
        student_channels, teacher_channels: of :func:`paired_channels`.
        criterion, dist_schedule: see :class:`HeatmapDistiller`.
        deepest: index of the student's map that its prediction is made of.
        alpha: a, in [0, 1]; 0: no heat map is imitated.
        beta: >= 0; 0: no feature is shared.
        levels: indices of the student's maps that are shared, the finest or the first first; all if empty.
        standardise: each channel of each image to mean 0 and variance 1 before maps are compared; or compare them as
            they are. By image, neither the batch nor the number of processes changes it.
        share_head: with the fourth term.
        share_weight: of that term, >= 0.

    Raises:
        ValueError: an argument outside of its range; it names the key.
    """

    row_keys = ("DISTILL.FSFLD.ALPHA", "DISTILL.FSFLD.BETA", "DISTILL.FSFLD.LEVELS", "DISTILL.FSFLD.SHARE_HEAD")

    scale: Tensor

    def __init__(
        self,
        *,
        student_channels: Sequence[int],
        teacher_channels: Sequence[Sequence[int]],
        criterion: Any,
        deepest: int,
        alpha: float,
        beta: float,
        levels: Sequence[int],
        standardise: bool,
        share_head: bool,
        share_weight: float,
        dist_schedule: str,
    ):
        super().__init__(criterion=criterion, dist_schedule=dist_schedule)
        number, levels = len(student_channels), tuple(levels)
        check_not_negative(FSFLD_BETA=beta, FSFLD_SHARE_WEIGHT=share_weight)
        require(0 <= alpha <= 1, "DISTILL.FSFLD.ALPHA", alpha, "in [0, 1]")
        known = all(type(level) is int and 0 <= level < number for level in levels)
        expected = f"different indices of the student's maps, 0 to {number - 1}; empty: all"
        require(known and len(set(levels)) == len(levels), "DISTILL.FSFLD.LEVELS", levels, expected)
        self.levels = levels or tuple(range(number))
        if share_head:
            expected = f"such that {deepest} is among them, the map of the head that is shared (SHARE_HEAD)"
            require(deepest in self.levels, "DISTILL.FSFLD.LEVELS", levels, expected)
        self.alpha, self.beta, self.share_weight = alpha, beta, share_weight
        self.shared = self.levels.index(deepest) if share_head else None
        self.standardise = standardised if standardise else full_precision
        ours = [student_channels[level] for level in self.levels]
        self.adapters = nn.ModuleList(
            regressors(ours, [channels[level] for level in self.levels]) for channels in teacher_channels
        )
        # b without beta; 0: not known yet.
        self.register_buffer("scale", torch.zeros(()))

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        """The student's own losses, "loss_imitation" of heat maps, "loss_dist" of features, and "loss_shared"."""
        factor, own = self.factor(batch), batch.student.losses
        features = [batch.student.features[level] for level in self.levels]
        projected: list[list[Tensor]] = [
            [adapter(feature) for adapter, feature in zip(adapters, features, strict=True)]  # type: ignore[call-overload]
            for adapters in self.adapters
        ]
        feature_loss = self.feature_loss(projected, batch)
        scale = self.first_ratio(total(own.values()), feature_loss)
        self.measure(feature_distance=feature_loss, feature_scale=scale)
        losses = scaled(own, 1 - factor * self.alpha)
        losses["loss_imitation"] = factor * self.alpha * self.heat_loss(batch)
        losses["loss_dist"] = factor * self.beta * scale * feature_loss
        if self.shared is not None:
            said = [total(batch.heads.losses(k, [maps[self.shared]]).values()) for k, maps in enumerate(projected)]
            losses["loss_shared"] = factor * self.share_weight * torch.stack(said).mean()
        return losses

    def feature_loss(self, projected: Sequence[Sequence[Tensor]], batch: DistillationBatch) -> Tensor:
        """L_feat of each teacher's projected maps (N, C, H, W), the mean over the teachers."""
        costs = [
            squared_difference(self.standardise(ours), self.standardise(teacher.features[level])).mean()
            for maps, teacher in zip(projected, batch.teachers, strict=True)
            for ours, level in zip(maps, self.levels, strict=True)
        ]
        return torch.stack(costs).mean()

    @torch.no_grad()
    def first_ratio(self, own: Tensor, features: Tensor) -> Tensor:
        """L_gt / L_feat of the first step that has both, of all processes' images; the host waits for nothing."""
        own, features = mean_over_processes([own.detach().float(), features.detach().float()])
        ratio = own / features.clamp(min=EPSILON)
        self.scale = torch.where(self.scale > 0, self.scale, ratio)
        return self.scale


def standardised(maps: Tensor) -> Tensor:
    """(N, C, H, W), each channel of each image with mean 0 and variance 1, in full precision."""
    maps = full_precision(maps)
    variance, mean = torch.var_mean(maps, dim=(2, 3), correction=0, keepdim=True)
    return (maps - mean) * (variance + EPSILON).rsqrt()
