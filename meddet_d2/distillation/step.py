"""One step of distillation, whole: read this file first."""

from torch import Tensor, nn

from .head_outputs import HeadOutputs, localization_regions
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

        # Before the student, whose activations stay till the backward pass: on a CPU the teachers' large temporary maps
        # then lie in memory that is still there from the last step. Behind it they took a third longer.
        teacher_features = self.teachers.features(batched_inputs, len(self.student.in_features))
        # One forward of the student gives its detection losses, its FPN maps and its head's output.
        with FeatureTap(self.student.backbone) as backbone_tap, FeatureTap(self.student.head) as head_tap:
            detection_losses = self.student(batched_inputs)
        maps, outputs = backbone_tap.take(), head_tap.take()

        features = [maps[name] for name in self.student.in_features]
        gt_instances = self.student.ground_truth(batched_inputs)
        batch = DistillationBatch(
            student=features,
            teachers=teacher_features,
            gt_instances=gt_instances,
            progress=self.progress,
            # What follows costs nothing until a method calls it.
            head_losses=lambda teacher, features: self.teachers.head_losses(teacher, features, gt_instances),
            head_outputs=lambda: HeadOutputs.join(outputs),
            teacher_outputs=lambda teacher: self.teachers.head_outputs(teacher, teacher_features[teacher]),
            regions=lambda ratio: localization_regions(self.student, features, gt_instances, ratio),
        )
        with self.teachers.precision.learning():
            return self.distiller(batch, detection_losses)
