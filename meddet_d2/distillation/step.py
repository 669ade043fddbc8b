"""One step of distillation, whole: read this file first. docs/one_step.md goes on from here, file by file."""

from typing import Any

from torch import Tensor, nn

from .distiller import DistillationBatch, Distiller
from .tasks import task_of
from .teachers import TeacherBank, TeacherHeads


class DistillationModel(nn.Module):
    """A student, its frozen teachers and the distiller between them, as one model to train.

    The teachers are no submodule: they are not optimised, not saved, not wrapped in DistributedDataParallel, and
    ``train()`` does not reach them.

    Args:
        student: the network to train; its task says how it is read.
        teachers: fit the student, see :meth:`TeacherBank.check_student`.
        distiller: turns what they show into losses.
    """

    def __init__(self, student: nn.Module, teachers: TeacherBank, distiller: Distiller):
        super().__init__()
        self.student = student
        self.distiller = distiller
        self.teachers = teachers
        self.task = task_of(student)
        # How much of the run is done, in [0, 1]; the trainer sets it before each step.
        self.progress = 0.0

    def forward(self, inputs: list[dict]) -> dict[str, Tensor] | list[dict[str, Any]]:
        """In training a dict of losses to add up; otherwise the student's detections."""
        if not self.training:
            return self.student(inputs)

        # The teachers come first: after the student they were a third slower on a CPU.
        teachers = self.teachers.observe(inputs, len(self.task.shapes(self.student)))
        # One forward of the student gives its maps, its head's output and its own losses.
        targets = self.task.targets(self.student, inputs)
        student = self.task.observe(self.student, self.task.view(inputs, "student"), targets=targets)

        heads = TeacherHeads(self.teachers, teachers, targets)
        batch = DistillationBatch(inputs, student, teachers, targets, heads, self.progress)
        with self.teachers.precision.learning():
            return self.distiller(batch)
