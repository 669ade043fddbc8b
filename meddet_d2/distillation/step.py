"""One step of distillation, whole: read this file first."""

from torch import Tensor, nn

from .methods import DistillationBatch, Distiller
from .taps import FeatureTap
from .teachers import TeacherBank


class DistillationModel(nn.Module):
    """A student, its frozen teachers and the distiller between them, as one model to train.

    The teachers are no submodule: they are not optimised, not saved, not wrapped in DistributedDataParallel, and
    ``train()`` does not reach them.

    Args:
        student: a ``GFL`` detector.
        teachers: must agree with the student, see :meth:`TeacherBank.check_student`.
        distiller: turns maps into losses.
    """

    def __init__(self, student: nn.Module, teachers: TeacherBank, distiller: Distiller):
        super().__init__()
        teachers.check_student(student)
        self.student = student
        self.distiller = distiller
        self.teachers = teachers
        # How much of the run is done, in [0, 1]; the trainer sets it before each step.
        self.progress = 0.0

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict]:
        """In training a dict of losses to add up; otherwise the student's detections."""
        if not self.training:
            return self.student(batched_inputs)

        # One forward of the student gives both its detection losses and its FPN maps.
        with FeatureTap(self.student.backbone) as tap:
            detection_losses = self.student(batched_inputs)
        maps = tap.take()

        gt_instances = self.student.ground_truth(batched_inputs)
        batch = DistillationBatch(
            student=[maps[name] for name in self.student.in_features],
            teachers=self.teachers.features(batched_inputs),
            gt_instances=gt_instances,
            head_losses=lambda teacher, features: self.teachers.head_losses(teacher, features, gt_instances),
            progress=self.progress,
        )
        return self.distiller(batch, detection_losses)
