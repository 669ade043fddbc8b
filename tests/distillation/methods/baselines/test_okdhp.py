"""OKDHP's loss against plain loops."""

import math

import pytest
from small_landmarks import CRITERION, map_batch, slow_divergence

from meddet_d2.distillation.methods import OKDHP


def build(weight=2.0, dist_schedule="constant"):
    return OKDHP(criterion=CRITERION, weight=weight, dist_schedule=dist_schedule)


@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("teachers", [(5,), (5, 4)])
def test_equals_plain_loops_on_its_ramp(teachers, progress):
    batch = map_batch(teacher_channels=teachers, stacks=2, progress=progress)
    losses = build()(batch)
    apart = sum(slow_divergence(batch, k) for k in range(len(teachers))) / len(teachers)
    ramp = math.exp(-5 * (1 - progress) * (1 - progress))
    assert losses["loss_heatmap"].item() == 2.0
    assert losses["loss_imitation"].item() == pytest.approx(2.0 * ramp * apart, rel=1e-6)
    losses["loss_imitation"].backward()
    assert [x.grad is not None for x in batch.student.outputs] == [False, True], "the prediction's alone"


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match=r"^DISTILL\.OKDHP\.WEIGHT is -1\.0; it must be at least 0\.$"):
        build(-1.0)
