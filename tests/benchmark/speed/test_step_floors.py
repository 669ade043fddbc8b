"""What a graph of a training step may not lose: its gradients, which it writes to by their place in memory."""

import torch

from meddet_d2.benchmark.speed import step_floors
from meddet_d2.benchmark.speed.timed_step import DistillationStep


def test_gradients_stay_where_they_are_and_do_not_add_up(gpu):
    student, images = gpu.detector("student").train(), torch.randn(2, 3, 64, 64)
    call = step_floors._both_ways(student, torch.float32, gpu.device)
    call(images)
    first = {
        name: (value.grad, value.grad.clone()) for name, value in student.named_parameters() if value.requires_grad
    }
    assert first and any(value.any() for _, value in first.values())
    call(images)
    for name, value in student.named_parameters():
        grad, values = first[name]
        assert value.grad is grad
        torch.testing.assert_close(value.grad, values)


def test_floors_leave_the_steps_student_alone(report, gpu, recorded):
    step = DistillationStep(gpu)
    for parameter in step.student.parameters():
        parameter.grad = None
    before = {name: value.clone() for name, value in step.student.state_dict().items()}
    calls = step_floors.floor_calls(report, gpu, "step", step.bank)
    for call in calls.values():
        call()
    assert recorded == [[(2, 3, 64, 64)]] * 3
    assert all(parameter.grad is None for parameter in step.student.parameters())
    assert all(torch.equal(before[name], value) for name, value in step.student.state_dict().items())
    # A teacher's floor is its maps.
    (maps,) = calls["teachers' networks, graph"]()
    assert set(maps) >= set(step.student.in_features)
