"""The stages of a whole run: teachers, the student alone, the distilled student, and what came out."""

import logging
import os
import time
from pathlib import Path

from torch import nn

from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from meddet_d2.distillation import TeacherBank, build_distiller
from meddet_d2.distillation import teachers as teacher_files
from meddet_d2.evaluation import summary
from meddet_d2.evaluation.comparison_pictures import draw_test_images

from .guards import make_deterministic
from .parallel import check_same
from .safe_checkpointer import SafeCheckpointer
from .trainer import DistillationTrainer, MedDetTrainer

logger = logging.getLogger(__name__)


def train_detector(cfg: CfgNode, *, resume: bool = False, trainer_class=MedDetTrainer, before_training=None):
    """Train one network in ``cfg.OUTPUT_DIR`` and evaluate it.

    Args:
        cfg: the network's whole config.
        resume: continue from the last checkpoint of the folder, if there is one.
        trainer_class: ``MedDetTrainer`` or ``DistillationTrainer``.
        before_training: called with the trainer once it is built.

    Returns:
        The trainer; ``trainer.results`` holds the last evaluation's metrics.
    """
    make_deterministic(cfg)
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + comm.get_rank())
    _keep_config(cfg)
    trainer = trainer_class(cfg)
    trainer.resume_or_load(resume=resume)
    if before_training is not None:
        before_training(trainer)
    trainer.train()
    return trainer


def evaluate(cfg: CfgNode) -> dict:
    """Evaluate the checkpoint ``MODEL.WEIGHTS``, or the newest one of ``OUTPUT_DIR``, on ``DATASETS.TEST``.

    Raises:
        FileNotFoundError: neither names a checkpoint.
    """
    make_deterministic(cfg)
    cfg = _changed(cfg, ["MODEL.BOTTOM_UP.PRETRAINED", False])
    model = build_model(cfg)
    checkpointer = SafeCheckpointer(model, cfg.OUTPUT_DIR)
    path = cfg.MODEL.WEIGHTS or (checkpointer.get_checkpoint_file() if checkpointer.has_checkpoint() else "")
    if not path:
        raise FileNotFoundError(
            f"There is no checkpoint in {cfg.OUTPUT_DIR}: train first, or name one with MODEL.WEIGHTS <file>."
        )
    checkpointer.load(path, checkpointables=[])
    return MedDetTrainer.test(cfg, model)


def run_distillation(cfg: CfgNode, *, resume: bool = False) -> dict:
    """Everything that ``configs/meddet.yaml`` or ``configs/quickstart.yaml`` asks for, stage by stage.

    Missing teachers are trained first if ``DISTILL.TEACHERS.TRAIN_MISSING``; the student alone if
    ``DISTILL.TRAIN_ALONE``; then the student is distilled. The run ends with a table of all networks, a picture of the
    student's predictions, and the next command.

    Returns:
        The distilled student's metrics.
    """
    if not cfg.DISTILL.TEACHERS.TRAIN_MISSING:
        teacher_files.require(cfg)
    check_distillation(cfg)
    missing = teacher_files.missing(cfg)
    # One machine would train what another already has.
    check_same("teachers that are not there", [weights for _, weights in missing])
    stages = _Stages(len(missing) + bool(cfg.DISTILL.TRAIN_ALONE) + 1)
    for config, weights in missing:
        stages.begin(f"teacher {teacher_files.name_of(config)}")
        train_detector(teacher_config(cfg, config, weights), resume=resume)

    rows = []
    if cfg.DISTILL.TRAIN_ALONE:
        stages.begin("the student alone")
        folder = os.path.join(cfg.OUTPUT_DIR, "student_alone")
        alone = train_detector(_changed(cfg, ["DISTILL.ENABLED", False, "OUTPUT_DIR", folder]), resume=resume)
        rows.append(_row(cfg, "student alone", alone.detector, alone.results))

    stages.begin("the student under its teachers")
    trainer = train_detector(
        cfg,
        resume=resume,
        trainer_class=DistillationTrainer,
        before_training=lambda trainer: rows.extend(_evaluate_teachers(cfg, trainer.distillation.teachers)),
    )
    rows.append(_row(cfg, f"student, {cfg.DISTILL.METHOD}", trainer.detector, trainer.results))
    if comm.is_main_process():
        _report(cfg, rows, trainer.detector)
    comm.synchronize()
    return trainer.results


def check_distillation(cfg: CfgNode) -> None:
    """Build student, teachers and distiller once without memory, so that a mistake shows before hours of training.

    Raises:
        ValueError: whatever building them refuses, or a teacher that does not fit the student.
    """
    cfg = _changed(cfg, ["MODEL.DEVICE", "meta", "MODEL.BOTTOM_UP.PRETRAINED", False])
    student = build_model(cfg)
    teachers = TeacherBank.build(cfg)
    teachers.check_student(student)
    build_distiller(cfg, student, teachers)


def teacher_config(cfg: CfgNode, config: str, weights: str) -> CfgNode:
    """The config that trains a teacher for this run: the teacher's own, on this run's data, seed and device.

    Raises:
        ValueError: ``weights`` is not a ``model_final.pth``, which is what a training writes.
    """
    if Path(weights).name != "model_final.pth":
        raise ValueError(
            f"DISTILL.TEACHERS.WEIGHTS names {weights}; a teacher that is trained for a run ends as "
            "<folder>/model_final.pth, so name it so."
        )
    teacher = teacher_files.load_config(config, cfg).clone()
    teacher.defrost()
    teacher.DATASETS = cfg.DATASETS.clone()
    teacher.INPUT = cfg.INPUT.clone()
    teacher.DATALOADER = cfg.DATALOADER.clone()
    teacher.SEED = cfg.SEED
    teacher.OUTPUT_DIR = str(Path(weights).parent)
    teacher.freeze()
    return teacher


class _Stages:
    """Counts the stages of a run in the log."""

    def __init__(self, total: int):
        self.total, self.done, self.start = total, 0, time.perf_counter()

    def begin(self, name: str) -> None:
        self.done += 1
        elapsed = time.perf_counter() - self.start
        logger.info("===== Stage %d of %d: %s (%.0f s since the start) =====", self.done, self.total, name, elapsed)


def _evaluate_teachers(cfg: CfgNode, teachers) -> list[summary.NetworkRow]:
    if not cfg.DISTILL.TEACHERS.EVALUATE:
        return []
    rows = []
    for name, detector in zip(teachers.names, teachers.detectors, strict=True):
        logger.info("Evaluating teacher %s before it teaches.", name)
        results = MedDetTrainer.test(
            _changed(cfg, ["OUTPUT_DIR", os.path.join(cfg.OUTPUT_DIR, "teachers", name)]), detector
        )
        rows.append(_row(cfg, f"teacher {name}", detector, results))
    return rows


def _row(cfg: CfgNode, name: str, detector: nn.Module, results: dict) -> summary.NetworkRow:
    batch = next(iter(MedDetTrainer.build_test_loader(cfg, cfg.DATASETS.TEST[0])))
    return summary.NetworkRow.measure(name, detector, results, batch)


def _report(cfg: CfgNode, rows: list[summary.NetworkRow], student: nn.Module) -> None:
    dataset = cfg.DATASETS.TEST[0]
    table = summary.write(rows, cfg.OUTPUT_DIR, dataset_name=dataset)
    picture = os.path.join(cfg.OUTPUT_DIR, "predictions.png")
    draw_test_images(student, MedDetTrainer.build_test_loader(cfg, dataset), dataset, picture)
    logger.info("Results on %s:\n%s", dataset, table)
    logger.info("Predictions beside the ground truth: %s", picture)
    config = os.path.join(cfg.OUTPUT_DIR, "config.yaml")
    logger.info("Evaluate the student again: python tools/train_net.py --config-file %s --eval-only", config)
    logger.info(
        "Next, on your own images (datasets/README.md): python tools/train_net.py --config-file configs/meddet.yaml"
    )


def _keep_config(cfg: CfgNode) -> None:
    """Leave the stage's whole config beside its checkpoints."""
    if comm.is_main_process():
        folder = Path(cfg.OUTPUT_DIR)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(cfg.dump())
    comm.synchronize()


def _changed(cfg: CfgNode, options: list) -> CfgNode:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.merge_from_list(options)
    cfg.freeze()
    return cfg
