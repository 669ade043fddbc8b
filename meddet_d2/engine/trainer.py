"""The trainers: a detector by itself, and a student with its teachers."""

import logging
import weakref
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader
from detectron2.engine import AMPTrainer, DefaultTrainer, HookBase, SimpleTrainer, TrainerBase
from detectron2.engine.hooks import IterationTimer, LRScheduler, PeriodicWriter
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger
from meddet_d2.data import MedDetDatasetMapper, build_train_loader, mapper_for
from meddet_d2.data.workers import loader_workers
from meddet_d2.distillation import DistillationModel, TeacherBank, TeacherRecord, build_distiller, task_for
from meddet_d2.distillation.teacher_configs import changed, first_weights
from meddet_d2.evaluation import evaluator_for, is_better_smaller, unit_of
from meddet_d2.hardware.compiling import compile_parts
from meddet_d2.hardware.fast import make_fast
from meddet_d2.hardware.gpu_memory import enough_memory
from meddet_d2.hardware.precision import student_precision, train_in
from meddet_d2.hardware.processes import parallel

from .guards import FiniteGuard, scaled_to_batch
from .load_ahead import LoadAhead
from .optimizer import build_optimizer
from .parallel import average_statistics, check_same, share_padding
from .resume import Checkpoints, StopOnSignal
from .safe_checkpointer import SafeCheckpointer
from .step_metrics import StepMetrics
from .validation import EarlyEnd, Validation, build_loss_loader, flat_metrics, validation_losses


class MedDetTrainer(DefaultTrainer):
    """``DefaultTrainer`` with this project's loaders, evaluator, optimizer, checkpoints and guards.

    A run that was stopped at any step and resumed ends with the same bits on a CPU as one that was not
    (engine/resume.py), and no number that is not finite gets into a checkpoint (engine/guards.py).
    """

    build_optimizer = staticmethod(build_optimizer)

    def __init__(self, cfg: CfgNode):
        # What DefaultTrainer's does, which Detectron2 cannot on several processes without GPUs, and which has no place
        # for another checkpointer.
        TrainerBase.__init__(self)
        if not logging.getLogger("detectron2").isEnabledFor(logging.INFO):  # nobody has set logging up
            setup_logger()
        self.cfg = cfg = self.auto_scale_workers(scaled_to_batch(cfg), comm.get_world_size())
        self.start_iter, self.max_iter = 0, cfg.SOLVER.MAX_ITER
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        loader = self.load_ahead(self.build_train_loader(cfg))
        precision = student_precision(cfg.SOLVER, cfg.MODEL.DEVICE)
        train_in(model, precision)
        model = parallel(model)
        # Gradients in fp16 are scaled, so that small ones do not vanish.
        scaled = precision.dtype == torch.float16
        self._trainer = (AMPTrainer if scaled else SimpleTrainer)(model, loader, optimizer)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = self.build_checkpointer()
        self.step_metrics = StepMetrics(self._trainer)
        self.guard = FiniteGuard(weakref.proxy(self))
        self.register_hooks(self.build_hooks())

        share_padding(model, task_for(cfg.MODEL.META_ARCHITECTURE))
        average_statistics(model, optimizer)
        self.guard.watch(model, optimizer)

    @property
    def detector(self) -> nn.Module:
        """What is trained, evaluated and saved, without a DistributedDataParallel wrapper."""
        return unwrap(self._trainer.model)

    @property
    def results(self) -> dict:
        """What the last evaluation of this training returned; empty on other processes than the main one."""
        # DefaultTrainer looks for it there; train() hands it on only if the config expects certain results.
        return getattr(self, "_last_eval_results", None) or {}

    def build_checkpointer(self) -> SafeCheckpointer:
        """The checkpointer of :attr:`detector` and of the training's state."""
        names = task_for(self.cfg.MODEL.META_ARCHITECTURE).names(self.cfg)
        return SafeCheckpointer(self.detector, self.cfg.OUTPUT_DIR, classes=names, **self.checkpointables())

    def load_ahead(self, loader: DataLoader) -> DataLoader | LoadAhead:
        """The loader, or on a GPU one that has the next batch there before it is asked for."""
        device = torch.device(self.cfg.MODEL.DEVICE)
        return LoadAhead(loader, device) if device.type == "cuda" else loader

    def checkpointables(self) -> dict[str, Any]:
        """What a checkpoint holds of the training, by its key and in the order in which a resume loads it."""
        return {"trainer": weakref.proxy(self)}

    def build_hooks(self) -> list[HookBase]:
        solver, validation = self.cfg.SOLVER, self.cfg.VALIDATION
        checkpoints = Checkpoints(
            self.checkpointer,
            self._trainer.data_loader.batch_sampler,
            period=solver.CHECKPOINT_PERIOD,
            keep=solver.CHECKPOINT_KEEP,
        )
        evaluator = evaluator_for(self.cfg)
        # Before the training, not after it.
        for names in (self.cfg.DATASETS.TEST, self.cfg.VALIDATION.DATASETS):
            if len(names) > 1:
                unit_of(evaluator, names)
        evaluations = Validation(
            self.checkpointer,
            checkpoints,
            period=self.cfg.TEST.EVAL_PERIOD,
            best=validation.BEST,
            patience=validation.PATIENCE,
            loss=validation.LOSS,
            primary=evaluator.PRIMARY,
            smaller=is_better_smaller(evaluator, validation.BEST),
        )
        writers = [PeriodicWriter(self.build_writers())] if comm.is_main_process() else []
        # Checkpoints come after the guard, which stops what is not finite, and before the evaluation, which may fail.
        # Writers come after that, so that they see its results. The guard waits for the step; the next batch is loaded
        # before that.
        loader = self._trainer.data_loader
        timed = [IterationTimer(), LRScheduler(), *([loader] if isinstance(loader, LoadAhead) else [])]
        return [*timed, self.guard, checkpoints, evaluations, self.step_metrics, *writers, StopOnSignal(checkpoints)]

    def train(self) -> dict | None:
        """Train to the end, or to an early one."""
        try:
            return super().train()
        except EarlyEnd:
            return None

    def run_step(self) -> None:
        images, size = self.cfg.SOLVER.IMS_PER_BATCH, max(self.cfg.INPUT.MIN_SIZE_TRAIN)
        what = f"SOLVER.IMS_PER_BATCH {images} at INPUT.MIN_SIZE_TRAIN {size}"
        try:
            with enough_memory(what, "lower one of them, or train in half precision (SOLVER.PRECISION)"):
                super().run_step()
        except RuntimeError as error:
            if self.cfg.DETERMINISTIC and "eterministic" in str(error):
                raise ValueError(
                    f"DETERMINISTIC is True, but torch says: {str(error).split('. ')[0]}; set it to False, or train on "
                    "the CPU."
                ) from error
            raise

    def validate(self, *, loss: bool) -> dict[str, float]:
        """Evaluate the detector on ``VALIDATION.DATASETS``, or on ``DATASETS.TEST`` where that is empty.

        Args:
            loss: also measure the detection losses there.

        Returns:
            The metrics (the evaluator's, on the main process) and the losses ("validation_loss", ...).
        """
        names = self.cfg.VALIDATION.DATASETS or self.cfg.DATASETS.TEST
        losses = validation_losses(self.detector, build_loss_loader(self.cfg, names)) if loss else {}
        return {**self._metrics_on(names), **losses}

    def test_at_the_end(self) -> dict[str, float]:
        """Evaluate on ``DATASETS.TEST`` what was validated elsewhere; returns them with "test/" before each."""
        if not self.cfg.VALIDATION.DATASETS:
            return {}
        return {f"test/{name}": value for name, value in self._metrics_on(self.cfg.DATASETS.TEST).items()}

    def _metrics_on(self, names: tuple[str, ...]) -> dict[str, float]:
        self._last_eval_results = self.test(changed(self.cfg, ["DATASETS.TEST", tuple(names)]), self.detector)
        return flat_metrics(self._last_eval_results, names)

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module, evaluators: Any = None) -> dict:
        what = f"one image at INPUT.MIN_SIZE_TEST {cfg.INPUT.MIN_SIZE_TEST}, MAX_SIZE_TEST {cfg.INPUT.MAX_SIZE_TEST}"
        with enough_memory(what, "lower them, or set MODEL.DEVICE cpu"):
            return super().test(cfg, model, *([] if evaluators is None else [evaluators]))

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        parts = task_for(cfg.MODEL.META_ARCHITECTURE).parts.values()
        return make_fast(super().build_model(cfg), parts, compiled=cfg.MODEL.COMPILE, graphs=cfg.MODEL.CUDA_GRAPHS)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode):
        mapper = mapper_for(task_for(cfg.MODEL.META_ARCHITECTURE).result)
        loader = build_train_loader(cfg, mapper(cfg, is_train=True))
        records = loader.dataset.records  # type: ignore[attr-defined]
        check_same(
            "images of DATASETS.TRAIN", [f"{x['image_id']}, {len(x.get('annotations', ()))} objects" for x in records]
        )
        return loader

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str):
        mapper = MedDetDatasetMapper(cfg, is_train=False)
        return build_detection_test_loader(cfg, dataset_name, mapper=mapper, num_workers=loader_workers(cfg))

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str, output_folder: str | None = None) -> DatasetEvaluator:
        folder = output_folder or f"{cfg.OUTPUT_DIR}/inference/{dataset_name}"
        return evaluator_for(cfg)(dataset_name, output_dir=folder)


class DistillationTrainer(MedDetTrainer):
    """Trains a student under frozen teachers.

    The student and the distiller are one model with one optimizer. The teachers are frozen. What else a method trains,
    its hooks train. The checkpoint's ``model`` is the student alone, so it is a plain checkpoint of its kind.
    ``distiller``, ``trainer`` and ``teachers`` (their files' checksums) hold the rest for a resume.
    """

    @classmethod
    def build_model(cls, cfg: CfgNode) -> DistillationModel:
        teachers = TeacherBank.from_config(cfg, fold=True)
        check_same("teachers", [f"{name}, SHA-256 {one}" for name, one in teachers.checksums.items()])
        student = super().build_model(cfg)
        if cfg.MODEL.COMPILE:
            for network, task in zip(teachers.networks, teachers.tasks, strict=True):
                compile_parts(network, task.parts.values())
        return DistillationModel(student, teachers, build_distiller(cfg, student, teachers))

    @property
    def distillation(self) -> DistillationModel:
        """Student, teachers and distiller, without a DistributedDataParallel wrapper."""
        return unwrap(self._trainer.model)

    @property
    def detector(self) -> nn.Module:
        return self.distillation.student

    def load_ahead(self, loader: DataLoader) -> DataLoader | LoadAhead:
        # A cache of the teachers' maps reads the images on the host.
        teachers = self.cfg.DISTILL.TEACHERS
        return loader if teachers.CACHE_GIB or teachers.CACHE_DIR else super().load_ahead(loader)

    def checkpointables(self) -> dict[str, Any]:
        checksums, accept = self.distillation.teachers.checksums, self.cfg.DISTILL.TEACHERS.ACCEPT_CHANGED
        teachers = TeacherRecord(checksums, accept_changed=accept)
        return {"teachers": teachers, **super().checkpointables(), "distiller": self.distillation.distiller}

    def resume_or_load(self, resume: bool = True) -> None:
        """Go on from the last checkpoint, or begin with weights: by ``DISTILL.WARM_START``, or ``MODEL.WEIGHTS``."""
        if self.cfg.DISTILL.WARM_START and not (resume and self.checkpointer.has_checkpoint()):
            self.checkpointer.resume_or_load(first_weights(self.cfg), resume=False)
        else:
            super().resume_or_load(resume=resume)

    def build_hooks(self) -> list[HookBase]:
        # The method's come first: their steps belong to the iteration that is timed, and come before a checkpoint.
        return [*self.distillation.distiller.build_hooks(self.cfg), *super().build_hooks()]

    def run_step(self) -> None:
        self.distillation.progress = self.iter / self.max_iter
        super().run_step()
        self.step_metrics.put(self.distillation.distiller.metrics)


def unwrap(model: nn.Module) -> Any:
    """The module inside a DistributedDataParallel wrapper, or the module itself."""
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
