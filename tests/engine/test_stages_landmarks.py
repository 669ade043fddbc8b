"""A whole run of landmarks: a teacher of several tasks, the student alone, and the student under the teacher."""

import json
from pathlib import Path

import pytest
import torch

from meddet_d2.config import load_config
from meddet_d2.data import register_datasets
from meddet_d2.distillation import TeacherBank
from meddet_d2.engine import run_distillation
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
