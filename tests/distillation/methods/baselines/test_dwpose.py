"""DWPose's first stage against plain loops."""

import pytest
import torch
from small_landmarks import CRITERION, map_batch, slow_divergence
from torch.nn import functional as F

from meddet_d2.distillation.methods import DWPose


def build(deepest=0, alpha=3.0, beta=0.5, dist_schedule="constant", teachers=(5,)):
    torch.manual_seed(0)
    return DWPose(
        student_channels=[3, 3], teacher_channels=[[c, c] for c in teachers], criterion=CRITERION, deepest=deepest,
        alpha=alpha, beta=beta, dist_schedule=dist_schedule,
    ).double()  # fmt: skip


def slow_mean_square(adapter, student, teacher):
    hint = F.conv2d(student, adapter.weight, adapter.bias)
    squares = [(a - b) ** 2 for a, b in zip(hint.flatten().tolist(), teacher.flatten().tolist(), strict=True)]
    return sum(squares) / len(squares)


@pytest.mark.parametrize("deepest", [0, 1])
@pytest.mark.parametrize("teachers", [(5,), (5, 3)])
def test_equals_plain_loops_on_the_last_map_alone(deepest, teachers):
    batch, method = map_batch(teacher_channels=teachers), build(deepest, teachers=teachers)
    losses = method(batch)
    pairs = zip(method.adapters, batch.teachers, strict=True)
    maps = [slow_mean_square(r, batch.student.features[deepest], teacher.features[deepest]) for r, teacher in pairs]
    apart = [slow_divergence(batch, k) for k in range(len(teachers))]
    assert losses["loss_dist"].item() == pytest.approx(3.0 * sum(maps) / len(maps), rel=1e-9)
    assert losses["loss_imitation"].item() == pytest.approx(0.5 * sum(apart) / len(apart), rel=1e-6)
    assert losses["loss_heatmap"].item() == 2.0
    losses["loss_dist"].backward()
    assert [x.grad is not None for x in batch.student.features] == [index == deepest for index in range(2)]
    assert all(p.grad.abs().sum() > 0 for p in method.parameters())


def test_both_fade_and_the_labels_stay():
    batch, late = map_batch(), map_batch(progress=0.75)
    losses, faded = build()(batch), build(dist_schedule="linear")(late)
    for name in ("loss_dist", "loss_imitation"):
        assert faded[name].item() == pytest.approx(0.25 * losses[name].item())
    assert faded["loss_heatmap"].item() == 2.0


@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_negative_weights_are_refused(name):
    with pytest.raises(ValueError, match=rf"^DISTILL\.DWPOSE\.{name.upper()} is -1\.0; it must be at least 0\.$"):
        build(**{name: -1.0})
