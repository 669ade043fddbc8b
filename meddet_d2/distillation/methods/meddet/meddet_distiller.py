"""MedDet: generative adversarial distillation from several teachers, equations 13 and 14 of the paper.

Shapes in this module: K teachers, L FPN levels (the finest, up to the last that has a weight), N images, C channels of
the lead teacher, (H, W) the size of the student's map at a level. All aligned, fused and generated maps of a level are
(N, C, H, W).
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from meddet_d2.config.arguments import arguments, require, require_choice
from meddet_d2.hardware.processes import count_processes, mean_over_processes, own_share
from meddet_d2.modeling.gfl.gfl_losses import check_simplex

from ...distiller import DISTILLER_REGISTRY, SCHEDULES, DistillationBatch, Distiller, feature_channels, total
from ...tasks import task_of
from ..feature_losses import cell_weights, full_precision
from .adversarial import GENERATOR_LOSSES, Adversary, Discriminator, Generator, generator_loss
from .alignment import AdaptiveFeatureAlignment
from .fusion import build_fusion, check_lead

GENERATORS = ("plain", "residual", "none")
REDUCTIONS = ("relative", "standardized", "mean", "sum")


@DISTILLER_REGISTRY.register()
class MedDet(Distiller):
    """AFA, fusion, generator and the losses of the student.

    ``L = gain * (sigma L_det + tau L_dist + (1 - sigma - tau) L_adv)`` (eq. 14), and beside it ``L_fusion``.

    The paper does not say what teaches AFA and the fusion. Through L_dist they would learn to make every map a
    constant, which the student then copies perfectly. So the fused map is detached wherever the student meets it, and
    L_fusion, the detection loss of the lead teacher's frozen head on the fused map, teaches AFA and fusion instead: it
    can only fall while the map keeps what a detector needs. A head's forward and backward pass for every image would be
    the dearest part of a step, so a share of the images teaches; the others are fused without a graph.

    L_adv counts nothing during its warm-up. Without a discriminator it is left out, and eq. 14's other two terms keep
    their weights.

    Args:
        student_channels: channels of the student's L maps.
        teacher_channels: for each of K teachers those of its L maps; the lead teacher's become the common C.
        lead: index of the lead teacher.
        fusion: a name in ``FUSION_REGISTRY``.
        fusion_activation: of LWFF's channel weights.
        fusion_start: what the fused map is before anything is learned, see :func:`build_fusion`.
        fusion_weight: of L_fusion.
        fusion_share: share in (0, 1] of a batch's images, of all processes together and rounded up, that teaches AFA
            and fusion.
        sigma, tau: eq. 14, both >= 0 with sum <= 1.
        gain: > 0, multiplies eq. 14.
        level_weights: L weights >= 0 of the levels in L_dist and L_adv. L_adv, and L_dist if it is a mean, take them
            divided by their sum; an L_dist by "sum" takes them as they are (all 1: eq. 13 as printed).
        dist_reduction: of the squared difference, see :func:`imitation_losses`.
        dist_schedule: in ``SCHEDULES``, of L_dist's weight over the run.
        dist_foreground: share in [0, 1] of each level's L_dist that the cells in boxes have to themselves.
        strides: of the L levels, in pixels.
        generator: in ``GENERATORS``: what stands for ``G`` between the student's aligned maps and the fused ones.
            "plain" and "residual": see :class:`Generator`; "none": nothing, which is feature distillation in its
            plainest form.
        discriminator: judges the generated maps, or None. It is no part of this module: neither in ``parameters()`` nor
            in ``state_dict()``, and ``to()`` does not move it.
        adversarial_loss: in ``GENERATOR_LOSSES``.
        adversarial_warmup: fraction of the run in [0, 1] before L_adv counts.
    """

    row_keys = ("DISTILL.MEDDET.AATM.ENABLED", "DISTILL.MEDDET.FUSION.NAME")

    def __init__(
        self,
        *,
        student_channels: Sequence[int],
        teacher_channels: Sequence[Sequence[int]],
        lead: int,
        fusion: str,
        fusion_activation: str,
        fusion_start: str,
        fusion_weight: float,
        fusion_share: float,
        sigma: float,
        tau: float,
        gain: float,
        level_weights: Sequence[float],
        dist_reduction: str,
        dist_schedule: str,
        dist_foreground: float,
        strides: Sequence[int],
        generator: str,
        discriminator: Discriminator | None,
        adversarial_loss: str,
        adversarial_warmup: float,
    ):
        super().__init__()
        check_simplex(sigma, tau, "DISTILL.MEDDET.SIGMA", "DISTILL.MEDDET.TAU")
        for key, value, good, expected in (
            ("GAIN", gain, gain > 0, "greater than 0"),
            ("DIST_FOREGROUND", dist_foreground, 0 <= dist_foreground <= 1, "a share, in [0, 1]"),
            ("FUSION.LOSS_WEIGHT", fusion_weight, fusion_weight >= 0, "at least 0"),
            ("FUSION.SHARE", fusion_share, 0 < fusion_share <= 1, "a share above 0 and at most 1"),
            ("AATM.WARMUP", adversarial_warmup, 0 <= adversarial_warmup <= 1, "a fraction of the run, in [0, 1]"),
        ):
            require(good, f"DISTILL.MEDDET.{key}", value, expected)
        _check_levels(level_weights, len(student_channels))
        require_choice("DISTILL.MEDDET.DIST_REDUCTION", dist_reduction, REDUCTIONS)
        require_choice("DISTILL.MEDDET.AATM.GENERATOR", generator, GENERATORS)
        require_choice("DISTILL.MEDDET.AATM.GENERATOR_LOSS", adversarial_loss, GENERATOR_LOSSES)
        require_choice("DISTILL.DIST_SCHEDULE", dist_schedule, SCHEDULES)
        check_lead(lead, len(teacher_channels))

        self.adversary = None if discriminator is None else Adversary(discriminator)
        self.lead = lead
        self.fusion_weight = fusion_weight
        self.fusion_share = fusion_share
        # The factors of eq. 14's terms; rounding must not make the last one negative.
        self.detection_weight = gain * sigma
        self.distillation_weight = gain * tau
        self.adversarial_weight = gain * max(0.0, 1 - sigma - tau)
        self.level_weights = tuple(level_weights)
        self.dist_reduction = dist_reduction
        self.dist_schedule = dist_schedule
        self.dist_foreground = dist_foreground
        self.strides = tuple(strides)
        self.adversarial_loss = adversarial_loss
        self.adversarial_warmup = adversarial_warmup

        common = teacher_channels[lead]
        self.student_alignment = _align_levels(student_channels, common)
        self.teacher_alignment = nn.ModuleList(_align_levels(channels, common) for channels in teacher_channels)
        self.fusion = nn.ModuleList(
            build_fusion(
                fusion,
                channels=c,
                num_teachers=len(teacher_channels),
                activation=fusion_activation,
                lead=lead,
                start=fusion_start,
            )
            for c in common
        )
        self.generator = nn.ModuleList(
            nn.Identity() if generator == "none" else Generator(channels=c, residual=generator == "residual")
            for c in common
        )

    @classmethod
    def from_config(cls, cfg, student: nn.Module, teachers) -> dict:
        meddet, fusion, aatm = cfg.DISTILL.MEDDET, cfg.DISTILL.MEDDET.FUSION, cfg.DISTILL.MEDDET.AATM
        shapes = task_of(student).shapes(student)
        _check_levels(meddet.LEVEL_WEIGHTS, len(shapes))
        # What lies behind the last level with a weight would be computed for nothing.
        levels = 1 + max(i for i, weight in enumerate(meddet.LEVEL_WEIGHTS) if weight > 0)
        teacher_channels = [feature_channels(network, levels) for network in teachers.networks]
        check_lead(fusion.LEAD_TEACHER, len(teacher_channels))
        discriminator = None
        if aatm.ENABLED:
            channels = teacher_channels[fusion.LEAD_TEACHER]
            discriminator = Discriminator(channels=channels, **arguments(Discriminator, aatm))
            discriminator.to(next(student.parameters()).device)
        return {
            **arguments(MedDet, cfg.DISTILL, meddet),
            "student_channels": feature_channels(student, levels),
            "teacher_channels": teacher_channels,
            "lead": fusion.LEAD_TEACHER,
            "fusion": fusion.NAME,
            "fusion_activation": fusion.ACTIVATION,
            "fusion_start": fusion.START,
            "fusion_weight": fusion.LOSS_WEIGHT,
            "fusion_share": fusion.SHARE,
            "level_weights": meddet.LEVEL_WEIGHTS[:levels],
            "strides": [shape.stride for shape in shapes[:levels]],
            "generator": aatm.GENERATOR,
            "discriminator": discriminator,
            "adversarial_loss": aatm.GENERATOR_LOSS,
            "adversarial_warmup": aatm.WARMUP,
        }

    def build_hooks(self, cfg) -> list:
        """The hook that trains the discriminator, if there is one."""
        if self.adversary is None:
            return []
        # Here, so that the mathematics can be imported without the engine.
        from .discriminator_hook import DiscriminatorHook

        aatm = cfg.DISTILL.MEDDET.AATM
        settings = {"lr": aatm.LR, "betas": aatm.BETAS, "real_label": aatm.REAL_LABEL, "clip": aatm.CLIP_GRADIENTS}
        return [DiscriminatorHook(self.adversary, **settings)]

    def timed_parts(self, hooks) -> dict:
        """The discriminator's own training, on what the last forward pass judged."""
        if self.adversary is None:
            return {}
        lesson = self.adversary.take()
        return {"discriminator": lambda: hooks[0].learn(lesson)}

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        """The student's losses times ``gain * sigma``, "loss_dist", "loss_fusion" and, with a discriminator,
        "loss_adv".
        """
        # Of all processes' images, so that a step teaches the same however many share it; here there may be none.
        images = len(batch.inputs)
        count = own_share(math.ceil(self.fusion_share * images * count_processes()))
        taught = self.fuse(batch, slice(count))
        targets = [x.detach() for x in taught]
        if count < images:
            with torch.no_grad():
                others = self.fuse(batch, slice(count, None))
            targets = [torch.cat(halves) for halves in zip(targets, others, strict=True)]
        generated = self.generate(batch.student.features[: len(targets)])
        distances = imitation_losses(targets, generated, self.dist_reduction, self.cell_weights(batch))
        # A "relative" L_dist then starts near 1, however many levels there are.
        dist = self._over_levels(distances, normalize=self.dist_reduction != "sum")
        # The head's assigner compares an object's places on all levels. Where nothing is fused it sees the lead's own.
        own = [x[:count] for x in batch.teachers[self.lead].features[len(taught) :]]
        fusion = total(batch.heads.losses(self.lead, taught + own).values())

        losses = {name: self.detection_weight * loss for name, loss in batch.student.losses.items()}
        losses["loss_dist"] = self.distillation_weight * SCHEDULES[self.dist_schedule](batch.progress) * dist
        losses["loss_fusion"] = self.fusion_weight * fusion
        measured = {"dist_raw": dist, "fused_std": _spread(targets), "generated_std": _spread(generated)}
        if self.adversary is not None:
            logits = self.adversary.judge(targets, generated)
            each = [generator_loss(x, self.adversarial_loss) for x in logits]
            measured["adv_raw"] = self._over_levels(each, normalize=True)
            # A factor of zero, not a branch: the graph stays the same through the warm-up.
            active = float(batch.progress >= self.adversarial_warmup)
            losses["loss_adv"] = self.adversarial_weight * active * measured["adv_raw"]
        self.measure(**measured)
        return losses

    def fuse(self, batch: DistillationBatch, images: slice = slice(None)) -> list[Tensor]:
        """Align the teachers' maps to the student's sizes and fuse them (eq. 6-11).

        Args:
            batch: the maps of student and teachers.
            images: which of the batch's images.

        Returns:
            L maps, with a graph.
        """
        fused = []
        for level, fusion in enumerate(self.fusion):
            size = batch.student.features[level].shape[-2:]
            pairs: Any = zip(self.teacher_alignment, batch.teachers, strict=True)
            fused.append(fusion([align[level](shown.features[level][images], size) for align, shown in pairs]))
        return fused

    def cell_weights(self, batch: DistillationBatch) -> list[Tensor] | None:
        """How much each cell counts in L_dist: L maps (N, 1, H, W) of mean 1, or None if all count the same."""
        if self.dist_foreground == 0:
            return None
        sizes = [x.shape[-2:] for x in batch.student.features[: len(self.strides)]]
        return cell_weights(batch.targets, self.strides, sizes, self.dist_foreground)

    def generate(self, features: Sequence[Tensor]) -> list[Tensor]:
        """``G(align(S_i))`` of eq. 13 for each of the student's L maps."""
        levels = zip(self.generator, self.student_alignment, features, strict=True)
        return [generator(align(x, x.shape[-2:])) for generator, align, x in levels]

    def _over_levels(self, values: Sequence[Tensor], *, normalize: bool) -> Tensor:
        """Add up the levels by their weights, which are first made to sum to 1 if ``normalize``."""
        scale = sum(self.level_weights) if normalize else 1.0
        return total(weight / scale * value for weight, value in zip(self.level_weights, values, strict=True))


def imitation_losses(
    targets: Sequence[Tensor], predictions: Sequence[Tensor], reduction: str, weights: Sequence[Tensor] | None = None
) -> list[Tensor]:
    """The squared difference of eq. 13 on each level, in fp32.

    Args:
        targets: L maps (N, C, H, W), the fused ones, without a graph.
        predictions: L maps (N, C, H, W).
        reduction: "sum" over the map, the mean over the images, which is the equation read literally; "mean" over all
            values; "relative": that mean divided by the variance of the level's target over all its values, so that
            predicting the target's mean costs exactly 1, whatever the scale of the teachers' maps; "standardized": the
            same for each channel by itself, the mean over the channels, so that a channel of small values counts as
            much as one of large ones. A variance counts as no less than a hundredth of the largest one: what is nearly
            constant has nothing to teach, and would otherwise outweigh all else.
        weights: of the cells, L maps (N, 1, H, W) of mean 1, in all means and variances; None: all alike.

    Returns:
        L scalars >= 0. Their mean over the processes is the whole batch's: variances are of all processes' targets.
    """
    targets = [full_precision(x) for x in targets]
    squared = [(t - p.to(t.dtype)) ** 2 for t, p in zip(targets, predictions, strict=True)]
    if weights is not None:
        squared = [w * x for w, x in zip(weights, squared, strict=True)]
    if reduction == "sum":
        return [x.sum() / len(x) for x in squared]
    if reduction == "mean":
        return [x.mean() for x in squared]
    over = (0, 2, 3) if reduction == "standardized" else (0, 1, 2, 3)
    variances = _variances(targets, weights or [None] * len(targets), over)
    floor = (0.01 * torch.stack([v.max() for v in variances]).max()).clamp(min=1e-6)
    return [(x.mean(dim=over) / v.clamp(min=floor)).mean() for x, v in zip(squared, variances, strict=True)]


@torch.no_grad()
def _variances(targets: Sequence[Tensor], weights: Sequence[Tensor | None], over: tuple[int, ...]) -> list[Tensor]:
    """Variances of L maps (N, C, H, W) of all processes over the given dimensions, cells weighted by (N, 1, H, W)."""
    if count_processes() == 1 and weights[0] is None:
        return [x.var(dim=over, correction=0) for x in targets]

    def means(values: Sequence[Tensor]) -> list[Tensor]:
        weighted = [x if w is None else w * x for x, w in zip(values, weights, strict=True)]
        return mean_over_processes([x.mean(dim=over, keepdim=True) for x in weighted])

    spread = means([(x - mean) ** 2 for x, mean in zip(targets, means(targets), strict=True)])
    return [x.squeeze() if len(over) == 4 else x.flatten() for x in spread]


def _align_levels(channels: Sequence[int], common: Sequence[int]) -> nn.ModuleList:
    """One AFA for each level."""
    pairs = zip(channels, common, strict=True)
    return nn.ModuleList(AdaptiveFeatureAlignment(in_channels=c1, out_channels=c2) for c1, c2 in pairs)


def _spread(maps: Sequence[Tensor]) -> Tensor:
    """Standard deviation within a map, the mean over levels. A fused map that collapses to a constant shows here."""
    return torch.stack([x.detach().float().std(correction=0) for x in maps]).mean()


def _check_levels(weights: Sequence[float], num_levels: int) -> None:
    if len(weights) != num_levels:
        raise ValueError(
            f"DISTILL.MEDDET.LEVEL_WEIGHTS has {len(weights)} values; give one for each of the student's {num_levels} "
            "levels."
        )
    if not (min(weights) >= 0 and sum(weights) > 0):
        raise ValueError(f"DISTILL.MEDDET.LEVEL_WEIGHTS is {tuple(weights)}; weights are >= 0 and one at least is > 0.")
