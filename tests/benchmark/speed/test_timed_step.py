"""The steps that are timed are steps: weights change, and the number format is the trainer's."""

import pytest
import torch

from meddet_d2.benchmark.speed.timed_step import DistillationStep, StudentStep, in_training
from meddet_d2.hardware import precision


def weights(step):
    return torch.cat([value.detach().flatten() for value in step.student.parameters()])


def test_steps_change_the_student(cpu):
    for step in (StudentStep(cpu), DistillationStep(cpu)):
        before = weights(step)
        step.distillation() if isinstance(step, DistillationStep) else step.student_alone()
        assert not torch.equal(weights(step), before)
        before = weights(step)
        step.both_ways(step.student)
        assert torch.equal(weights(step), before)


def test_cudnn_chooses_as_in_training_and_not_longer(cpu, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    with in_training(cpu.config("student")):
        assert torch.backends.cudnn.benchmark
    assert not torch.backends.cudnn.benchmark


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_the_student_trains_in_the_devices_half(cpu, monkeypatch, half):
    monkeypatch.setattr(
        "meddet_d2.benchmark.speed.timed_step.student_precision",
        lambda solver, device: precision.Precision(half, "cpu"),
    )
    step, seen = StudentStep(cpu), []
    step.student.head.register_forward_hook(lambda module, given, output: seen.append(output[0][0].dtype))
    step.student_alone()
    assert seen == [half]
    assert step._scaler.is_enabled() == (half == torch.float16)
