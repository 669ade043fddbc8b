"""The stages of a whole run: teachers, the student alone, the distilled student, and what came out."""

import logging
import os
import shlex
import time

from torch import nn

from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from meddet_d2.distillation import TeacherBank, build_distiller, method_class, task_for, teacher_configs
from meddet_d2.distillation.dry_run import check_forward
from meddet_d2.distillation.teacher_configs import changed
from meddet_d2.evaluation import evaluator_for, summary, summary_columns, unit_of
from meddet_d2.files import write_text
from meddet_d2.plugins import plugin_options

from .guards import check_schedule, choose_algorithms
from .parallel import check_same
from .safe_checkpointer import SafeCheckpointer
from .trainer import DistillationTrainer, MedDetTrainer

logger = logging.getLogger(__name__)


def train_detector(cfg: CfgNode, *, resume: bool = False, trainer_class=MedDetTrainer, before_training=None):
    """Train one network in ``cfg.OUTPUT_DIR``, which gets its whole config as ``config.yaml``, and evaluate it.

    Args:
        cfg: the network's whole config.
        resume: continue from the last checkpoint of the folder, if there is one.
        trainer_class: ``MedDetTrainer`` or ``DistillationTrainer``.
        before_training: called with the trainer once it is built.

    Returns:
        The trainer; ``trainer.results`` holds the last evaluation's metrics.
    """
    for remark in check_schedule(cfg):
        logger.warning(remark)
    choose_algorithms(cfg)
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + comm.get_rank())
    if comm.is_main_process():
        write_text(os.path.join(cfg.OUTPUT_DIR, "config.yaml"), cfg.dump())
    comm.synchronize()
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
    choose_algorithms(cfg)
    cfg = changed(cfg, ["MODEL.BOTTOM_UP.PRETRAINED", False])
    model = MedDetTrainer.build_model(cfg)
    checkpointer = SafeCheckpointer(model, cfg.OUTPUT_DIR, classes=task_for(cfg.MODEL.META_ARCHITECTURE).names(cfg))
    path = cfg.MODEL.WEIGHTS or checkpointer.get_checkpoint_file()
    if not path:
        raise FileNotFoundError(
            f"There is no checkpoint in {cfg.OUTPUT_DIR}: train first, or name one with MODEL.WEIGHTS <file>."
        )
    checkpointer.load(path, checkpointables=[])
    return MedDetTrainer.test(cfg, model)


def run_distillation(cfg: CfgNode, *, resume: bool = False) -> dict:
    """Everything that ``configs/meddet.yaml`` or ``configs/quickstart.yaml`` asks for, stage by stage.

    The method says what is trained (``Distiller.stages``): teachers that are not there, if
    ``DISTILL.TEACHERS.TRAIN_MISSING``; the student alone, if ``DISTILL.TRAIN_ALONE``; the distilled student. The run
    ends with a table of all networks, a picture of the student's predictions, and the next command.

    Returns:
        The distilled student's metrics.
    """
    if not cfg.DISTILL.TEACHERS.TRAIN_MISSING:
        teacher_configs.require(cfg)
    check_distillation(cfg)
    stages = method_class(cfg.DISTILL.METHOD).stages(cfg)
    # One machine would train what another already has.
    check_same("trainings to make", [f"{stage.name} in {stage.cfg.OUTPUT_DIR}" for stage in stages])
    for stage in stages:
        check_schedule(stage.cfg)
    rows: list[dict] = []
    start = time.perf_counter()
    for number, stage in enumerate(stages, start=1):
        elapsed = time.perf_counter() - start
        logger.info("===== Stage %d of %d: %s (%.0f s since the start) =====", number, len(stages), stage.name, elapsed)
        if stage.distilled:
            trainer = train_detector(
                stage.cfg,
                resume=resume,
                trainer_class=DistillationTrainer,
                before_training=lambda trainer: rows.extend(_evaluate_teachers(cfg)),
            )
        else:
            trainer = train_detector(stage.cfg, resume=resume)
        if stage.row is not None:
            rows.append(_row(stage.cfg, stage.row, trainer.detector, trainer.results))
    if comm.is_main_process():
        _report(cfg, rows, trainer.detector)
    comm.synchronize()
    return trainer.results


def check_distillation(cfg: CfgNode) -> None:
    """Build student, teachers and distiller once without memory, so that a mistake shows before hours of training.

    Raises:
        ValueError: whatever building them refuses, a teacher that does not fit the student, or a network that does not
            run on images of this size.
    """
    cfg = changed(cfg, ["MODEL.DEVICE", "meta", "MODEL.BOTTOM_UP.PRETRAINED", False])
    student, teachers = build_model(cfg), TeacherBank.build(cfg)
    build_distiller(cfg, student, teachers)
    networks = dict(zip(("The student", *teachers.names), (student, *teachers.networks), strict=True))
    check_forward(networks, max(cfg.INPUT.MAX_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TEST))


def _evaluate_teachers(cfg: CfgNode) -> list[dict]:
    if not cfg.DISTILL.TEACHERS.EVALUATE:
        return []
    # As they are in their files: those that teach have fewer parameters.
    teachers, rows = TeacherBank.from_config(cfg), []
    chosen = zip(teachers.names, teachers.networks, teacher_configs.in_use(cfg), strict=True)
    for name, network, (config, _) in chosen:
        logger.info("Evaluating teacher %s before it teaches.", name)
        folder = os.path.join(cfg.OUTPUT_DIR, "teachers", name)
        teacher_cfg = teacher_configs.inherited_config(config, cfg, folder)
        results = MedDetTrainer.test(teacher_cfg, network)
        rows.append(_row(teacher_cfg, f"teacher {name}", network, results))
    return rows


def _row(cfg: CfgNode, name: str, detector: nn.Module, results: dict) -> dict:
    batch = next(iter(MedDetTrainer.build_test_loader(cfg, cfg.DATASETS.TEST[0])))
    return summary.measure(name, detector, results, batch, summary_columns(evaluator_for(cfg)))


def _report(cfg: CfgNode, rows: list[dict], student: nn.Module) -> None:
    dataset, columns = cfg.DATASETS.TEST[0], summary_columns(evaluator_for(cfg))
    unit = unit_of(evaluator_for(cfg), [dataset])
    table = summary.write(rows, cfg.OUTPUT_DIR, dataset_name=dataset, columns=columns, unit=unit)
    picture = os.path.join(cfg.OUTPUT_DIR, "predictions.png")
    evaluator_for(cfg).draw(student, MedDetTrainer.build_test_loader(cfg, dataset), dataset, picture)
    logger.info("Results on %s:\n%s", dataset, table)
    logger.info("Predictions beside the ground truth: %s", picture)
    options = [*plugin_options(), "--config-file", os.path.join(cfg.OUTPUT_DIR, "config.yaml")]
    files = ["--weights", os.path.join(cfg.OUTPUT_DIR, "model_final.pth"), "--output", "reading"]
    logger.info("Evaluate the student again: meddet train %s", shlex.join([*options, "--eval-only"]))
    logger.info("A clinician's page: meddet evaluate %s", shlex.join([*options, *files]))
    logger.info("Next, on your own images (datasets/README.md): meddet train --config-file configs/meddet.yaml")
