"""Distillation: several frozen teachers, one student, and what stands between them in training."""

from .distiller import DISTILLER_REGISTRY, DistillationBatch, Distiller, build_distiller, method_class
from .methods.meddet.fusion import FUSION_REGISTRY, build_fusion
from .step import DistillationModel
from .task_lookup import task_for
from .tasks import TASK_REGISTRY, Observation, Task, task_of
from .teacher_configs import Stage
from .teacher_record import TeacherRecord
from .teachers import TeacherBank, TeacherHeads

__all__ = [
    "DISTILLER_REGISTRY",
    "FUSION_REGISTRY",
    "TASK_REGISTRY",
    "DistillationBatch",
    "DistillationModel",
    "Distiller",
    "Observation",
    "Stage",
    "Task",
    "TeacherBank",
    "TeacherHeads",
    "TeacherRecord",
    "build_distiller",
    "build_fusion",
    "method_class",
    "task_for",
    "task_of",
]
