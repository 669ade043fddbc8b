"""A whole run of landmarks: a teacher of several tasks, the student alone, and the student under the teacher."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from checkpoints import checkpoint_state, differences

from detectron2.engine import HookBase
from meddet_d2.config import load_config
from meddet_d2.data import register_datasets
from meddet_d2.distillation import TeacherBank
from meddet_d2.distillation.teacher_configs import changed
from meddet_d2.engine import DistillationTrainer, run_distillation, train_detector
from meddet_d2.modeling.weights import read_checkpoint

BASE = """
MODEL:
  META_ARCHITECTURE: LandmarkDetector
  DEVICE: cpu
  BACKBONE: {{NAME: build_landmark_fpn_backbone, FREEZE_AT: 0}}
  BOTTOM_UP: {{LIBRARY: timm, NAME: {name}, PRETRAINED: False, NORM_EVAL: False}}
  FPN: {{OUT_CHANNELS: 8}}
  LANDMARK: {{CHANNELS: 8, REDUCTION: relative, TASKS: {tasks}, NUM_STRUCTURES: 2}}
DATASETS:
  TRAIN: [cdh_phantom_landmarks_train]
  TEST: [cdh_phantom_landmarks_test]
  PHANTOM: {{SIZE: 96, TRAIN_PATIENTS: 2, TEST_PATIENTS: 2}}
INPUT: {{MIN_SIZE_TRAIN: [96], MAX_SIZE_TRAIN: 96, MIN_SIZE_TEST: 96, MAX_SIZE_TEST: 96, RANDOM_FLIP: none}}
SOLVER: {{OPTIMIZER: AdamW, BASE_LR: 0.001, MAX_ITER: 2, IMS_PER_BATCH: 2, WARMUP_ITERS: 1, STEPS: [1]}}
VALIDATION: {{LOSS: True}}
DATALOADER: {{NUM_WORKERS: 0}}
SEED: 1
"""
DISTILL = """
DISTILL:
  ENABLED: True
  METHOD: FitNets
  TRAIN_ALONE: True
  PRECISION: fp32
  TEACHERS: {{CONFIGS: [{folder}/teacher.yaml], WEIGHTS: [{folder}/teacher/model_final.pth], TRAIN_MISSING: True}}
OUTPUT_DIR: {folder}/run
"""


@pytest.fixture
def cfg(tmp_path, use_datasets_root):
    teacher = BASE.format(name="test_resnet", tasks='["heatmap", "offset", "structure"]')
    (tmp_path / "teacher.yaml").write_text(teacher)
    student = BASE.format(name="test_efficientnet", tasks='["heatmap"]') + DISTILL.format(folder=tmp_path)
    (tmp_path / "student.yaml").write_text(student)
    cfg = load_config(str(tmp_path / "student.yaml"))
    cfg.freeze()
    register_datasets(cfg)
    return cfg


def test_from_no_teacher_to_the_table(cfg, tmp_path):
    results = run_distillation(cfg)
    assert results["landmarks"]["MRE"] > 0
    teacher = read_checkpoint(str(tmp_path / "teacher" / "model_final.pth"))
    student = read_checkpoint(str(tmp_path / "run" / "model_final.pth"))
    assert len(teacher.classes) == 29 and teacher.classes == student.classes
    assert [name for name in teacher.weights if name.startswith("auxiliary.")]
    assert not [name for name in student.weights if name.startswith("auxiliary.")]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["unit"] == "mm" and "errors in mm" in (tmp_path / "run" / "summary.md").read_text()
    names = [row["name"] for row in summary["networks"]]
    assert names == ["student alone", "teacher teacher", "student, FitNets"]
    logged = (tmp_path / "run" / "metrics.json").read_text()
    assert '"validation_loss_heatmap"' in logged and '"loss_dist"' in logged
    logged = (tmp_path / "teacher" / "metrics.json").read_text()
    assert '"validation_loss_offset"' in logged and '"validation_loss_structure"' in logged

    # A teacher of landmarks with other names is refused by its file.
    path = Path(cfg.DISTILL.TEACHERS.WEIGHTS[0])
    content = torch.load(path, weights_only=True)
    content["classes"] = content["classes"][::-1]
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"model_final\.pth: its network knows .*, the data set has") as caught:
        TeacherBank.from_config(cfg)
    assert "\n" not in str(caught.value)


class Stop(HookBase):
    """SIGTERM after the first step; the run stops after the next."""

    def after_step(self):
        os.kill(os.getpid(), signal.SIGTERM)


def test_fsf_ld_begins_with_the_student_alone_and_survives_a_stop(cfg, tmp_path):
    # A teacher that is evaluated is built, which draws numbers.
    options = ["DISTILL.WARM_START", True, "SOLVER.MAX_ITER", 3, "DISTILL.TEACHERS.EVALUATE", False]
    cfg = changed(cfg, ["DISTILL.METHOD", "FSFLD", *options])
    run_distillation(cfg)
    whole, alone = tmp_path / "run", tmp_path / "run" / "student_alone" / "model_final.pth"
    names = [row["name"] for row in json.loads((whole / "summary.json").read_text())["networks"]]
    assert names == ["student alone", "student, FSFLD"]

    again = changed(cfg, ["OUTPUT_DIR", str(tmp_path / "again"), "DISTILL.TRAIN_ALONE", False])
    with pytest.raises(ValueError, match=r"DISTILL\.WARM_START is True, but .*student_alone.*does not exist") as caught:
        run_distillation(again)
    assert "\n" not in str(caught.value)
    (tmp_path / "again" / "student_alone").mkdir(parents=True)
    shutil.copy(alone, tmp_path / "again" / "student_alone")
    begun = {}

    def prepare(trainer):
        begun.update({name: value.clone() for name, value in trainer.detector.state_dict().items()})
        trainer.register_hooks([Stop()])

    with pytest.raises(SystemExit):
        train_detector(again, trainer_class=DistillationTrainer, before_training=prepare)
    assert not differences(begun, torch.load(alone, weights_only=True)["model"])
    scale = torch.load(tmp_path / "again" / "model_0000001.pth", weights_only=True)["distiller"]["scale"]
    assert scale > 0
    train_detector(again, resume=True, trainer_class=DistillationTrainer)
    assert not differences(checkpoint_state(str(whole)), checkpoint_state(again.OUTPUT_DIR))
    state = torch.load(whole / "model_final.pth", weights_only=True)
    assert state["distiller"]["scale"] == scale and state["model"].keys() == begun.keys()
    assert not [name for name in state["model"] if "adapter" in name or name.startswith("auxiliary.")]
    # From scratch.
    scratch = changed(again, ["DISTILL.WARM_START", False, "OUTPUT_DIR", str(tmp_path / "scratch")])
    trainer = DistillationTrainer(scratch)
    trainer.resume_or_load(resume=False)
    assert differences(dict(trainer.detector.state_dict()), begun)
