"""LD: the student's distributions over distances are to be the teacher's (Zheng et al., "Localization Distillation for
Dense Object Detection", CVPR 2022).

Shapes in this module: K teachers, N images, L locations of all levels, M of them chosen, C classes, R reg_max.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from meddet_d2.config.arguments import arguments, require, require_choice
from meddet_d2.hardware.processes import count_processes, sum_over_processes

from ...distiller import DISTILLER_REGISTRY, DistillationBatch, TeacherwiseDistiller, check_not_negative, require_result
from ...tasks.boxes_gfl import HeadOutputs, Regions, localization_regions

ACTIVATIONS = ("softmax", "sigmoid")


@DISTILLER_REGISTRY.register()
class LD(TeacherwiseDistiller):
    """Localization distillation at the positives and around them, and classification distillation at the positives.

    With ``KL`` as in :func:`softmax_distance`, summed over the four sides of a box:

    - at the student's positives, by ``weight``: ``sum score * KL / 4``, score being the student's largest, as in GFL;
    - in the valuable region around them, by ``vlr_weight``: ``sum IoU * KL / 16``, IoU being the anchor's;
    - the class logits at the positives, by ``kd_weight``: their mean distance.

    So in the published code (ld_head.py and kd_loss.py of the authors' repository), but for the valuable region: its
    "DIoU" divides by the anchor's area instead of the union, by a slip in its ``bbox_overlaps``, and the published
    figures come from that. Here it is the true DIoU, as the paper defines the region. The first two are sums over the
    positives of a step's batch, on however many processes, and grow with it; in that code the sums are each process's,
    of which its training takes the mean. Of the third that code takes the mean on each level by itself and adds the
    levels, which is the same where, as for discs at 512 x 512, all positives lie on P3. All is the mean over the
    teachers; published is one. There is nothing to train here.

    Args:
        regions: gives the positives and the valuable region of maps and ground truth, from a ratio on; see
            :func:`localization_regions`.
        weight, vlr_weight, kd_weight: >= 0.
        vlr_ratio: where the valuable region begins, in [0, 1].
        temperature, kd_temperature: of the distances' and of the classes' distributions, > 0.
        kd_activation: "softmax" over the classes as published, or "sigmoid" of each. GFL's scores are sigmoids, and a
            softmax over two classes only sees the difference of the two logits.
        dist_schedule: in ``SCHEDULES``.
    """

    def __init__(
        self,
        *,
        regions: Callable[[Sequence[Tensor], Sequence[Any], float], Regions],
        weight: float,
        vlr_weight: float,
        vlr_ratio: float,
        temperature: float,
        kd_weight: float,
        kd_temperature: float,
        kd_activation: str,
        dist_schedule: str,
    ):
        super().__init__({"loss_ld": weight, "loss_ld_vlr": vlr_weight, "loss_kd": kd_weight}, dist_schedule)
        check_not_negative(LD_WEIGHT=weight, LD_VLR_WEIGHT=vlr_weight, LD_KD_WEIGHT=kd_weight)
        require(0 <= vlr_ratio <= 1, "DISTILL.LD.VLR_RATIO", vlr_ratio, "in [0, 1]")
        require(temperature > 0, "DISTILL.LD.TEMPERATURE", temperature, "greater than 0")
        require(kd_temperature > 0, "DISTILL.LD.KD_TEMPERATURE", kd_temperature, "greater than 0")
        require_choice("DISTILL.LD.KD_ACTIVATION", kd_activation, ACTIVATIONS)
        self.regions = regions
        self.vlr_ratio = vlr_ratio
        self.temperature = temperature
        self.kd_temperature = kd_temperature
        self.kd_distance = softmax_distance if kd_activation == "softmax" else sigmoid_distance

    @classmethod
    def from_config(cls, cfg, student: nn.Module, teachers) -> dict:
        require_result(student, "boxes", "LD", "boxes")
        return {**arguments(LD, cfg.DISTILL, cfg.DISTILL.LD), "regions": partial(localization_regions, student)}

    def terms(self, batch: DistillationBatch) -> Iterator[Sequence[Tensor]]:
        """The three losses.

        Raises:
            ValueError: a teacher's locations are not the student's.
        """
        student = HeadOutputs.join(batch.student.outputs)
        positive, valuable = self.regions(batch.student.features, batch.targets, self.vlr_ratio)  # (N, L) both
        score = student.cls_logits.detach().sigmoid().amax(dim=2) * positive  # (N, L)
        # DistributedDataParallel takes the mean of the processes' gradients, so a sum is multiplied by their number.
        processes = count_processes()
        num_positive = sum_over_processes(positive.sum()).clamp(min=1)
        for k in range(len(batch.teachers)):
            teacher = HeadOutputs.join(batch.heads.outputs(k))
            if teacher.box_logits.shape != student.box_logits.shape:
                raise ValueError(
                    f"Teacher {k} sees {teacher.box_logits.shape[1]} locations and the student "
                    f"{student.box_logits.shape[1]}; choose a teacher (DISTILL.TEACHERS.CONFIGS) whose backbone pads "
                    "images to the same size."
                )
            # Of all locations, so that nobody has to wait for how many there are in the regions.
            apart = self.distances(student.box_logits, teacher.box_logits)  # (N, L)
            classes = self.kd_distance(student.cls_logits, teacher.cls_logits, self.kd_temperature)
            yield (
                processes * (score * apart).sum() / 4,
                processes * (valuable * apart).sum() / 16,
                processes * (classes * positive).sum() / num_positive,
            )

    def distances(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Logits (..., 4 * (R + 1)) of both -> (...), how far apart their distributions are, over the four sides."""
        student, teacher = (x.unflatten(-1, (4, x.shape[-1] // 4)) for x in (student, teacher))
        return softmax_distance(student, teacher, self.temperature).sum(dim=-1)


def softmax_distance(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """``T^2 * mean over the bins of p (log p - log q)``, p and q the softmaxes of teacher and student at T.

    This is the Kullback-Leibler divergence divided by the number of bins. T^2 keeps the gradient's size as T grows.

    Args:
        student, teacher: logits (..., bins).

    Returns:
        (...), >= 0 and zero where both are equal. Without a gradient to the teacher.
    """
    p, q = ((x / temperature).log_softmax(dim=-1) for x in (teacher.detach(), student))
    return F.kl_div(q, p, reduction="none", log_target=True).mean(dim=-1) * temperature**2


def sigmoid_distance(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """:func:`softmax_distance` of the two-valued distributions sigmoid and 1 - sigmoid, the mean over the classes.

    "Bridging Cross-task Protocol Inconsistency for Distillation in Dense Object Detection" (arXiv 2308.14286) proposes
    it for scores that are sigmoids. Its gradient is the binary cross-entropy's; the teacher's entropy is taken off, so
    that equality costs nothing.

    Args:
        student, teacher: logits (..., C).

    Returns:
        (...), >= 0.
    """
    # The logits z and 0 have the softmax sigmoid(z) and 1 - sigmoid(z); a sum over both outcomes, not their mean.
    student, teacher = (torch.stack([x, torch.zeros_like(x)], dim=-1) for x in (student, teacher))
    return 2 * softmax_distance(student, teacher, temperature).mean(dim=-1)
