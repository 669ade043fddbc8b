"""What is logged is read when the writers write, and is what each step has measured."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from detectron2.utils.events import EventStorage
from meddet_d2.engine import DistillationTrainer
from meddet_d2.engine.step_metrics import StepMetrics


class Steps:
    """As Detectron2's trainer of the steps: stores losses by its iteration."""

    def __init__(self, storage):
        self.iter, self.storage, self.data_loader = 0, storage, []

    def _write_metrics(self, losses, data_time):
        assert all(value.device.type == "cpu" for value in losses.values())
        self.storage.put_scalars(
            cur_iter=self.iter, data_time=data_time, **{name: value.item() for name, value in losses.items()}
        )


def test_every_step_is_stored_with_its_iteration_and_not_before_the_period():
    with EventStorage(0) as storage:
        steps = Steps(storage)
        metrics = StepMetrics(steps, period=3)
        metrics.trainer = SimpleNamespace(iter=0, max_iter=5, storage=storage)
        for iteration in range(5):
            steps.iter = metrics.trainer.iter = iteration
            steps._write_metrics({"loss": torch.tensor(iteration + 0.5)}, 0.25 * iteration)
            metrics.put({"spread": torch.tensor(10.0 * iteration)})
            metrics.after_step()
            stored = {name: history.values() for name, history in storage.histories().items()}
            done = {0: 0, 1: 0, 2: 3, 3: 3, 4: 5}[iteration]
            assert stored.get("loss", []) == [(k + 0.5, k) for k in range(done)]
            assert stored.get("spread", []) == [(10.0 * k, k) for k in range(done)]
        assert steps.iter == 4 and stored["data_time"][2] == (0.5, 2)


def test_nothing_that_is_not_finite_gets_into_the_log(distil_cfg):
    cfg = distil_cfg("SOLVER.MAX_ITER", 4)
    trainer = DistillationTrainer(cfg)

    def spoil():
        if trainer.iter == 2:
            with torch.no_grad():
                next(trainer.distillation.distiller.student_alignment.parameters()).fill_(float("nan"))

    trainer._hooks[-1].before_step = spoil
    with pytest.raises(FloatingPointError, match="at iteration 2"):
        trainer.train()
    text = (Path(cfg.OUTPUT_DIR) / "metrics.json").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert "NaN" not in text and max(line["iteration"] for line in lines if "loss_dist" in line) == 1
