"""Where a GPU's memory may run out: one line with the batch, the size and what to lower. No GPU is needed."""

import numpy as np
import pytest
import torch
from tiny_gfl import student_config

from detectron2.engine import DefaultTrainer, SimpleTrainer
from detectron2.modeling import build_model
from meddet_d2.deploy.torch_predictor import TorchPredictor
from meddet_d2.engine import MedDetTrainer


def run_out(*args, **kwargs):
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def test_a_training_step(distil_cfg, monkeypatch):
    trainer = MedDetTrainer(distil_cfg("SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 1))
    monkeypatch.setattr(SimpleTrainer, "run_step", run_out)
    with pytest.raises(ValueError, match=r"memory for SOLVER\.IMS_PER_BATCH 2 at INPUT\.MIN_SIZE_TRAIN \d+; lower one"):
        trainer.train()


def test_an_evaluation(tmp_path, monkeypatch):
    monkeypatch.setattr(DefaultTrainer, "test", run_out)
    with pytest.raises(ValueError, match=r"memory for one image at INPUT\.MIN_SIZE_TEST \d+, MAX_SIZE_TEST \d+; lower"):
        MedDetTrainer.test(student_config(tmp_path), None)


def test_a_prediction(tmp_path):
    cfg = student_config(tmp_path)
    weights = tmp_path / "student.pth"
    torch.save({"model": build_model(cfg).state_dict(), "classes": ["a", "b"]}, weights)
    predictor = TorchPredictor(cfg, str(weights))
    predictor.model.forward = run_out
    with pytest.raises(ValueError, match=r"memory for an image of \d+ x \d+ pixels; lower INPUT\.MIN_SIZE_TEST"):
        predictor(np.zeros((64, 96, 3), np.uint8))
