"""Fast Pose Distillation against plain loops."""

import pytest
from small_landmarks import CRITERION, map_batch, slow_heat_loss

from meddet_d2.distillation.methods import FPD


def build(alpha=0.3, dist_schedule="constant"):
    return FPD(criterion=CRITERION, alpha=alpha, dist_schedule=dist_schedule)


@pytest.mark.parametrize("teachers", [(5,), (5, 4)])
def test_every_stack_learns_of_the_teachers_last_heat_map(teachers):
    batch = map_batch(teacher_channels=teachers, stacks=3)
    losses = build()(batch)
    expected = sum(slow_heat_loss(batch, k) for k in range(len(teachers))) / len(teachers)
    assert losses["loss_heatmap"].item() == pytest.approx(0.7 * 2.0)
    assert losses["loss_imitation"].item() == pytest.approx(0.3 * expected, rel=1e-6)
    losses["loss_imitation"].backward()
    assert all(x.grad.abs().sum() > 0 for x in batch.student.outputs)


def test_a_schedule_gives_the_share_back_to_the_labels():
    batch, late = map_batch(), map_batch(progress=0.75)
    losses, faded = build()(batch), build(dist_schedule="linear")(late)
    assert faded["loss_imitation"].item() == pytest.approx(0.25 * losses["loss_imitation"].item())
    assert faded["loss_heatmap"].item() == pytest.approx((1 - 0.25 * 0.3) * 2.0)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_a_share_outside_of_its_range_is_refused(alpha):
    with pytest.raises(ValueError, match=r"^DISTILL\.FPD\.ALPHA is .*; it must be in \[0, 1\]\.$"):
        build(alpha)
