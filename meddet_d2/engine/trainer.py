"""The trainers: a detector by itself, and a student with its teachers."""

import weakref
from functools import partial

import torch
from torch import nn

from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader, build_detection_train_loader
from detectron2.engine import DefaultTrainer, HookBase
from detectron2.modeling import build_model
from meddet_d2.data import MedDetDatasetMapper
from meddet_d2.distillation import DistillationModel, TeacherBank, build_distiller
from meddet_d2.evaluation import DetectionEvaluator

from .checkpoint import SafeCheckpointer
from .guards import raise_if_not_finite
from .hooks import DiscriminatorHook
from .optimizer import build_optimizer


class MedDetTrainer(DefaultTrainer):
    """``DefaultTrainer`` with this project's mapper, evaluator, optimizer and checkpointer."""

    def __init__(self, cfg: CfgNode):
        super().__init__(cfg)
        # Before backward, so that a non-finite loss never reaches the weights.
        self._trainer.model.register_forward_hook(partial(raise_if_not_finite, weakref.proxy(self)))

    @property
    def detector(self) -> nn.Module:
        """What is trained, evaluated and saved, without a DistributedDataParallel wrapper."""
        return unwrap(self._trainer.model)

    @property
    def results(self) -> dict:
        """What the last evaluation of this training returned; empty on other processes than the main one."""
        # DefaultTrainer's EvalHook leaves it there; train() hands it on only if the config expects certain results.
        return getattr(self, "_last_eval_results", None) or {}

    def build_checkpointer(self) -> SafeCheckpointer:
        """The checkpointer of :attr:`detector` and of the training's state."""
        return SafeCheckpointer(self.detector, self.cfg.OUTPUT_DIR, trainer=weakref.proxy(self))

    def build_hooks(self) -> list[HookBase]:
        # DefaultTrainer has no place of its own for another checkpointer; here is the last moment before the hooks
        # that save take hold of it.
        self.checkpointer = self.build_checkpointer()
        return super().build_hooks()

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        return build_optimizer(cfg, model)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode):
        return build_detection_train_loader(cfg, mapper=MedDetDatasetMapper(cfg, is_train=True))

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str):
        return build_detection_test_loader(cfg, dataset_name, mapper=MedDetDatasetMapper(cfg, is_train=False))

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str, output_folder: str | None = None) -> DetectionEvaluator:
        folder = output_folder or f"{cfg.OUTPUT_DIR}/inference/{dataset_name}"
        return DetectionEvaluator(dataset_name, output_dir=folder)


class DistillationTrainer(MedDetTrainer):
    """Trains a student under frozen teachers.

    The student and the distiller (AFA, LWFF, generator) are one model with one optimizer; the teachers stand beside it,
    frozen, and the discriminator has its own optimizer in :class:`DiscriminatorHook`. The checkpoint's ``model`` is the
    student alone, so it is a plain GFL checkpoint; ``distiller`` and ``trainer`` hold the rest for a resume.
    """

    @classmethod
    def build_model(cls, cfg: CfgNode) -> DistillationModel:
        teachers = TeacherBank.from_config(cfg)
        student = build_model(cfg)
        teachers.check_student(student)
        distiller = build_distiller(cfg, student, teachers).to(cfg.MODEL.DEVICE)
        return DistillationModel(student, teachers, distiller)

    @property
    def distillation(self) -> DistillationModel:
        """Student, teachers and distiller, without a DistributedDataParallel wrapper."""
        return unwrap(self._trainer.model)

    @property
    def detector(self) -> nn.Module:
        return self.distillation.student

    def build_checkpointer(self) -> SafeCheckpointer:
        return SafeCheckpointer(
            self.detector,
            self.cfg.OUTPUT_DIR,
            trainer=weakref.proxy(self),
            distiller=self.distillation.distiller,
        )

    def build_hooks(self) -> list[HookBase]:
        hooks = super().build_hooks()
        distiller = self.distillation.distiller
        if distiller.discriminator is not None:
            aatm = self.cfg.DISTILL.AATM
            hook = DiscriminatorHook(distiller, lr=aatm.LR, betas=aatm.BETAS, real_label=aatm.REAL_LABEL)
            # First of all hooks: its step belongs to the iteration that is timed, and comes before a checkpoint.
            hooks.insert(0, hook)
        return hooks

    def run_step(self) -> None:
        self.distillation.progress = self.iter / self.max_iter
        super().run_step()
        self.storage.put_scalars(**self.distillation.distiller.metrics, smoothing_hint=False)


def unwrap(model: nn.Module) -> nn.Module:
    """The module inside a DistributedDataParallel wrapper, or the module itself."""
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
