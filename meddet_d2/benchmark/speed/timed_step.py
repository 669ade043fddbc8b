"""A step of distillation as calls that can be timed or counted: the student's own step, the teachers, and all."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from detectron2.config import CfgNode
from detectron2.modeling import build_model
from meddet_d2.distillation import DistillationModel, TeacherBank, build_distiller
from meddet_d2.engine.guards import FiniteGuard, choose_algorithms
from meddet_d2.engine.optimizer import build_optimizer
from meddet_d2.hardware.compiling import compile_parts
from meddet_d2.hardware.precision import student_precision, train_in

from .timed_networks import Setup, annotated_batch


@contextmanager
def in_training(cfg: CfgNode) -> Iterator[None]:
    """In the block cuDNN chooses its algorithms as the trainers let it."""
    before = torch.backends.cudnn.benchmark
    choose_algorithms(cfg)
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


class StudentStep:
    """A step of the student alone, on the same images each time.

    Attributes:
        cfg: of the distillation.
        batch: the step's images, annotated.
        student: in training.
    """

    def __init__(self, setup: Setup) -> None:
        # From random weights, and without a warm-up, a full learning rate may end in numbers that are not finite.
        self.cfg = setup.config("student", "SOLVER.BASE_LR", 1e-6)
        self.batch = annotated_batch(setup.size, setup.step_images)
        torch.manual_seed(0)
        self.student: Any = build_model(self.cfg).train()
        self._precision = student_precision(self.cfg.SOLVER, setup.device)
        train_in(self.student, self._precision)
        self._optimizer = build_optimizer(self.cfg, self.student)
        scaled = self._precision.dtype == torch.float16
        # As the trainers do it: bf16 is in the networks' forward passes, and fp16 around them.
        self._around: Callable[[], AbstractContextManager] = self._precision.frozen if scaled else nullcontext
        self._scaler = torch.amp.GradScaler(torch.device(setup.device).type, enabled=scaled)

    def student_alone(self) -> None:
        """Forward, backward and the optimizer's step."""
        self._descend(self.student, self._optimizer)

    def both_ways(self, model: nn.Module) -> None:
        """Forward and backward, without the optimizer's step."""
        with self._around():
            loss: Any = sum(model(self.batch).values())
        self._scaler.scale(loss).backward()

    def _descend(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        self.both_ways(model)
        self._scaler.step(optimizer)
        self._scaler.update()


class DistillationStep(StudentStep):
    """A whole step of distillation, and its parts.

    Attributes:
        bank: the teachers.
        model: student, teachers and distiller.
        parts: what the method names of its step, as calls (:meth:`Distiller.timed_parts`).
    """

    def __init__(self, setup: Setup, *, compiled: bool = False) -> None:
        """
        Args:
            setup: what is measured.
            compiled: as MODEL.COMPILE has it.
        """
        super().__init__(setup)
        cfg = self.cfg
        self.bank = TeacherBank.build(cfg)
        self.bank.fold_norms()
        model = DistillationModel(self.student, self.bank, build_distiller(cfg, self.student, self.bank)).train()
        if compiled:
            networks, tasks = [self.student, *self.bank.networks], [model.task, *self.bank.tasks]
            for network, task in zip(networks, tasks, strict=True):
                compile_parts(network, task.parts.values())
        train_in(model, self._precision)
        model.progress = 1.0
        self.model, self._whole_optimizer = model, build_optimizer(cfg, model)
        trainer = SimpleNamespace(iter=0, step_metrics=SimpleNamespace(put=lambda values: None))
        trainer.guard = FiniteGuard(trainer)
        distiller: Any = model.distiller
        hooks = distiller.build_hooks(cfg)
        for hook in hooks:
            hook.trainer = trainer
        self._hooks: list[Any] = [*hooks, trainer.guard]
        with self._around():
            model(self.batch)
        self.parts: dict[str, Callable[[], object]] = distiller.timed_parts(hooks)

    def teachers(self) -> None:
        """Their backbones and FPNs, from decoded images."""
        self.bank.observe(self.batch)

    def distillation(self) -> None:
        """Everything, with what the method trains after the student."""
        self._descend(self.model, self._whole_optimizer)
        for hook in self._hooks:
            hook.after_step()
