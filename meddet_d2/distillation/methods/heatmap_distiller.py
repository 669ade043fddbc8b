"""What the methods share that imitate a teacher's heat maps: FSF-LD, FPD, OKDHP and DWPose.

Shapes in this module: N images, K landmarks, (h, w) the size of a heat map in cells.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from meddet_d2.config.arguments import arguments, require_choice
from meddet_d2.hardware.processes import count_processes, sum_over_processes
from meddet_d2.modeling.heatmap.gaussian_targets import STRIDE, cells_of
from meddet_d2.modeling.image_batch import inside

from ..distiller import SCHEDULES, DistillationBatch, Distiller, paired_channels, require_result
from .feature_losses import full_precision


class HeatmapDistiller(Distiller):
    """A method for networks of heat maps.

    Args:
        criterion: the student's, which says what a heat map costs against another one.
        dist_schedule: in ``SCHEDULES``, a factor of all that the teachers have a part in.
    """

    def __init__(self, *, criterion: Any, dist_schedule: str):
        super().__init__()
        require_choice("DISTILL.DIST_SCHEDULE", dist_schedule, SCHEDULES)
        self.criterion, self.dist_schedule = criterion, dist_schedule

    @classmethod
    def from_config(cls, cfg: Any, student: nn.Module, teachers: Any) -> dict[str, Any]:
        """The keys of the section of DISTILL with the name of the class, and what the networks say of themselves.

        Raises:
            ValueError: the student has no heat maps.
        """
        name = cls.__name__
        require_result(student, "landmarks", name, "heat maps")
        network: Any = student
        channels = paired_channels(student, teachers)
        known = {
            **channels,
            "criterion": network.criterion,
            # Of the maps in their order, the one that the prediction is made of.
            "deepest": network.head.deepest(range(len(channels["student_channels"]))),
        }
        section = arguments(cls, cfg.DISTILL, cfg.DISTILL[name.upper()])
        return section | arguments(cls, {key.upper(): value for key, value in known.items()})

    def factor(self, batch: DistillationBatch) -> float:
        """The schedule's, in [0, 1]."""
        return SCHEDULES[self.dist_schedule](batch.progress)

    def heat_loss(self, batch: DistillationBatch) -> Tensor:
        """What the student's heat maps, all of them, cost against a teacher's last one: the mean over the teachers."""
        maps, truth = batch.student.outputs, batch.targets
        costs = [self.criterion.against(maps, target, truth) for target in teacher_heatmaps(batch)]
        return torch.stack(costs).mean()


def teacher_heatmaps(batch: DistillationBatch) -> Iterator[Tensor]:
    """Of each teacher the heat map (N, K, h, w) of its prediction, without a graph.

    Raises:
        ValueError: it is of another size than the student's.
    """
    ours = batch.student.outputs[-1].shape
    for k in range(len(batch.teachers)):
        heatmap = full_precision(batch.heads.outputs(k)[-1])
        if heatmap.shape != ours:
            raise ValueError(
                f"Teacher {k}'s heat map is of shape {tuple(heatmap.shape)} and the student's {tuple(ours)}; choose a "
                "teacher (DISTILL.TEACHERS.CONFIGS) whose backbone pads images to the same size."
            )
        yield heatmap


def spatial_divergence(student: Tensor, teacher: Tensor, truth: Any) -> Tensor:
    """Kullback-Leibler divergence of a softmax over an image's cells, teacher's from student's, without a temperature.

    Args:
        student, teacher: heat maps (N, K, h, w).
        truth: the :class:`LandmarkTruth` of the N images; a landmark that it has not does not count.

    Returns:
        The mean over the landmarks of all processes' images: a scalar, 0 if there is none.
    """
    height, width = student.shape[-2:]
    valid = inside(cells_of(truth.image_sizes, STRIDE), height, width, student.device)
    # A finite number, for 0 times an infinite one is NaN.
    low = torch.finfo(torch.float32).min
    ours, theirs = (
        torch.where(valid, full_precision(x), low).flatten(2).log_softmax(dim=2) for x in (student, teacher)
    )
    apart = (theirs.exp() * (theirs - ours)).sum(dim=2)
    number = sum_over_processes(truth.present.sum()).clamp(min=1)
    # DistributedDataParallel takes the mean of the processes' gradients.
    return count_processes() * (apart * truth.present).sum() / number


def scaled(losses: Any, factor: float) -> dict[str, Tensor]:
    """Named losses, each times a factor."""
    return {name: factor * loss for name, loss in losses.items()}
