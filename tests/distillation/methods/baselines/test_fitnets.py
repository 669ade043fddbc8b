"""FitNets against plain loops."""

import pytest
import torch

from meddet_d2.distillation.methods import FitNets


def build(student, *teachers, weight=2.0, dist_schedule="constant"):
    method = FitNets(
        student_channels=[student] * 2,
        teacher_channels=[[channels] * 2 for channels in teachers],
        weight=weight,
        dist_schedule=dist_schedule,
    )
    return method.double()


def slow_mean_square(regressor, student, teacher):
    weight, bias = regressor.weight.tolist(), regressor.bias.tolist()
    total, count = 0.0, 0
    for image, target in zip(student.tolist(), teacher.tolist(), strict=True):
        for c, plane in enumerate(target):
            for y, row in enumerate(plane):
                for x, value in enumerate(row):
                    hint = bias[c] + sum(w[0][0] * image[i][y][x] for i, w in enumerate(weight[c]))
                    total, count = total + (hint - value) ** 2, count + 1
    return total / count


@pytest.mark.parametrize("teachers", [(5,), (5, 3, 4)])
def test_equals_plain_loops(map_batch, teachers):
    batch, method = map_batch(3, *teachers, losses={"loss_qfl": torch.tensor(7.0)}), build(3, *teachers)
    expected = 0.0
    for regressors, shown in zip(method.regressors, batch.teachers, strict=True):
        expected += sum(
            slow_mean_square(r, s, t)
            for r, s, t in zip(regressors, batch.student.features, shown.features, strict=True)
        )
    losses = method(batch)
    assert list(losses) == ["loss_qfl", "loss_dist"] and losses["loss_qfl"].item() == 7
    assert losses["loss_dist"].item() == pytest.approx(2.0 * expected / len(teachers), rel=1e-10)


def test_the_regressor_starts_as_the_identity_so_that_equal_maps_cost_nothing(map_batch):
    batch = map_batch(4, 4)
    equal = map_batch(4, 4, teachers=[[x.detach() for x in batch.student.features]], student=batch.student.features)
    assert build(4, 4)(equal)["loss_dist"].item() == 0
    assert build(4, 4)(batch)["loss_dist"].item() > 0


def test_who_learns(map_batch):
    batch, method = map_batch(3, 5, 3), build(3, 5, 3)
    for x in [x for shown in batch.teachers for x in shown.features]:
        x.requires_grad_()
    method(batch)["loss_dist"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.parameters())
    assert all(x.grad.abs().sum() > 0 for x in batch.student.features)
    sizes = [[r.weight.shape[:2] for r in regressors] for regressors in method.regressors]
    assert sizes == [[(5, 3)] * 2, [(3, 3)] * 2], "each teacher has its own"


def test_the_schedule_scales_it(map_batch):
    batch = map_batch(3, 3)
    late = map_batch(3, 3, student=batch.student, teachers=batch.teachers, progress=0.75)
    method = build(3, 3, dist_schedule="linear")
    torch.testing.assert_close(method(late)["loss_dist"], 0.25 * method(batch)["loss_dist"])


def test_half_precision_maps_give_a_full_precision_loss(map_batch):
    batch = map_batch(3, 3)
    maps = [x.detach().half() for x in batch.student.features]
    half = map_batch(3, 3, student=maps, teachers=[[300 + x for x in maps]])
    loss = build(3, 3).half()(half)["loss_dist"]
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(2 * 2 * 300**2, rel=1e-2)


def test_maps_of_different_size_are_refused(map_batch):
    batch = map_batch(3, 3)
    smaller = map_batch(3, 3, teachers=[[x[..., 1:] for x in shown.features] for shown in batch.teachers])
    with pytest.raises(
        ValueError, match=r"map of the student is 8x6 and the teacher's 8x5.*DISTILL\.TEACHERS"
    ) as error:
        build(3, 3)(smaller)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"weight": -1.0}, r"DISTILL\.FITNETS\.WEIGHT is -1\.0; it must be at least 0"),
        ({"weight": float("nan")}, r"DISTILL\.FITNETS\.WEIGHT is nan"),
        ({"dist_schedule": "step"}, r"DISTILL\.DIST_SCHEDULE is 'step'"),
    ],
)
def test_bad_settings_are_one_line_with_their_key(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        build(3, 3, **changes)
    assert "\n" not in str(error.value)
