"""FSF-LD against plain loops, who learns by it, what it keeps, and what stays of it in the student."""

import pytest
import torch
from small_landmarks import (
    CRITERION,
    HOURGLASS,
    PYRAMID,
    batch,
    config,
    distillation,
    map_batch,
    network,
    slow_heat_loss,
)

from meddet_d2.distillation import TeacherBank, build_distiller
from meddet_d2.distillation.methods import FSFLD
from meddet_d2.distillation.methods.fsf_ld.fsf_ld_distiller import EPSILON, standardised
from meddet_d2.evaluation.operator_counts import OperatorCount

BOTH = pytest.mark.parametrize("kind", [PYRAMID, HOURGLASS], ids=["pyramid", "hourglass"])


def build(teachers=(5,), **changes):
    torch.manual_seed(0)
    arguments = {
        "student_channels": [3, 3], "teacher_channels": [[c, c] for c in teachers], "criterion": CRITERION,
        "deepest": 0, "alpha": 0.3, "beta": 0.7, "levels": (), "standardise": True, "share_head": False,
        "share_weight": 0.4, "dist_schedule": "constant",
    }  # fmt: skip
    return FSFLD(**{**arguments, **changes}).double()


def standard(values):
    mean = sum(values) / len(values)
    variance = sum((x - mean) ** 2 for x in values) / len(values)
    return [(x - mean) / (variance + EPSILON) ** 0.5 for x in values]


def slow_feature_loss(adapter, student, teacher, standardise):
    total = 0.0
    for image, target in zip(student.tolist(), teacher.tolist(), strict=True):
        for c, goal in enumerate(target):
            weights, bias = adapter.weight[c].flatten().tolist(), adapter.bias[c].item()
            cells = zip(*([x for row in plane for x in row] for plane in image), strict=True)
            made = [bias + sum(w * x for w, x in zip(weights, cell, strict=True)) for cell in cells]
            goal = [x for row in goal for x in row]
            pair = (standard(made), standard(goal)) if standardise else (made, goal)
            total += sum((a - b) ** 2 for a, b in zip(*pair, strict=True))
    return total / teacher.numel()


@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize(("teachers", "levels"), [((5,), ()), ((5, 3), (1,)), ((4, 4), (1, 0))])
def test_equals_plain_loops(teachers, levels, standardise):
    shown, method = (
        map_batch(teacher_channels=teachers, stacks=2),
        build(teachers, levels=levels, standardise=standardise),
    )
    losses = method(shown)
    features, heat = [], []
    for k, (adapters, teacher) in enumerate(zip(method.adapters, shown.teachers, strict=True)):
        heat.append(slow_heat_loss(shown, k))
        for adapter, level in zip(adapters, levels or (0, 1), strict=True):
            pair = shown.student.features[level], teacher.features[level]
            features.append(slow_feature_loss(adapter, *pair, standardise))
    feature_loss = sum(features) / len(features)
    assert list(losses) == ["loss_heatmap", "loss_imitation", "loss_dist"]
    assert losses["loss_heatmap"].item() == pytest.approx(0.7 * 2.0)
    assert losses["loss_imitation"].item() == pytest.approx(0.3 * sum(heat) / len(heat), rel=1e-6)
    # At the first step the features weigh as the labels do, and later by the same factor.
    assert losses["loss_dist"].item() == pytest.approx(0.7 * 2.0, rel=1e-6)
    assert method.metrics["feature_scale"].item() == pytest.approx(2.0 / feature_loss, rel=1e-5)
    other = map_batch(teacher_channels=teachers, stacks=2, seed=1, loss=9.0)
    assert method(other)["loss_dist"].item() == pytest.approx(
        0.7 * 2.0 / feature_loss * method.metrics["feature_distance"].item(), rel=1e-5
    )


def test_the_factor_begins_with_the_first_landmark_and_is_kept():
    method = build()
    assert method(map_batch(loss=0.0))["loss_dist"].item() == 0
    assert method(map_batch(loss=3.0))["loss_dist"].item() == pytest.approx(0.7 * 3.0, rel=1e-6)
    resumed = build()
    resumed.load_state_dict(method.state_dict())
    later = map_batch(seed=1, loss=50.0)
    assert resumed(later)["loss_dist"].item() == method(later)["loss_dist"].item() != 0.7 * 50


def test_a_schedule_fades_both_terms_of_the_teacher():
    method, faded = build(), build(dist_schedule="linear")
    losses, late = method(map_batch()), faded(map_batch(progress=0.75))
    assert late["loss_heatmap"].item() == pytest.approx((1 - 0.25 * 0.3) * 2.0)
    for name in ("loss_imitation", "loss_dist"):
        assert late[name].item() == pytest.approx(0.25 * losses[name].item())


def test_the_teachers_head_reads_the_projected_map_of_its_prediction():
    shown, method = map_batch(teacher_channels=(5, 4)), build((5, 4), share_head=True, deepest=1, levels=(1,))
    shared = method(shown)["loss_shared"]
    made = [adapters[0](shown.student.features[1]) for adapters in method.adapters]
    assert [len(read) for read in shown.heads.read] == [1, 1]
    assert all(torch.equal(read, x) for (read,), x in zip(shown.heads.read, made, strict=True))
    assert shared.item() == pytest.approx(0.4 * sum(x.square().mean().item() for x in made) / 2)


def test_scale_and_offset_of_a_channel_do_not_count_and_constants_stay_finite():
    maps = torch.randn(2, 3, 6, 4, dtype=torch.float64)
    torch.testing.assert_close(standardised(5 + 3 * maps), standardised(maps), atol=1e-4, rtol=0)
    assert not standardised(torch.full((1, 1, 3, 3), 7.0)).any()
    assert standardised(maps.half()).dtype == torch.float32


@BOTH
def test_gradients_reach_student_and_adapters_and_never_the_teacher(kind):
    model = distillation("DISTILL.METHOD", "FSFLD", "DISTILL.FSFLD.SHARE_HEAD", True, kind=kind)
    (teacher,) = model.teachers.networks
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    losses = model(batch())
    assert set(losses) == {"loss_heatmap", "loss_imitation", "loss_dist", "loss_shared"}
    for name in ("loss_imitation", "loss_dist", "loss_shared"):
        model.zero_grad()
        losses[name].backward(retain_graph=True)
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.student.parameters()), name
        reached = [p.grad is not None and p.grad.abs().sum() > 0 for p in model.distiller.adapters.parameters()]
        assert any(reached) == (name != "loss_imitation") and (name != "loss_dist" or all(reached[::2]))
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    after = teacher.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@BOTH
def test_the_student_that_is_kept_is_the_student_alone(kind):
    model = distillation("DISTILL.METHOD", "FSFLD", kind=kind)
    state = model.student.state_dict()
    assert state.keys() == network(kind=kind).state_dict().keys()
    assert not [name for name in state if "adapter" in name or "auxiliary" in name]
    shapes = [(adapter.in_channels, adapter.out_channels) for adapter in model.distiller.adapters[0]]
    assert shapes == ([(16, 32)] * 2 if kind is HOURGLASS else [(16, 24), *[shapes[1]] * 3])
    model.eval()
    found = model(batch())[0]["instances"].pred_keypoints
    assert torch.equal(found, model.student(batch())[0]["instances"].pred_keypoints)


@BOTH
def test_a_larger_batch_takes_no_more_operators(kind):
    model = distillation("DISTILL.METHOD", "FSFLD", "DISTILL.FSFLD.SHARE_HEAD", True, kind=kind)

    counts = []
    for images in (2, 16):
        inputs = batch(images)
        with OperatorCount() as step:
            sum(model(inputs).values()).backward()
        model.zero_grad(set_to_none=True)
        counts.append(sum(step.kernels.values()))
        assert sum(step.waits.values()) <= 1  # where the landmarks are checked
    few, many = counts
    assert few > 100 and many <= 1.02 * few


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": 1.1}, r"DISTILL\.FSFLD\.ALPHA is 1\.1; it must be in \[0, 1\]"),
        ({"beta": -1.0}, r"DISTILL\.FSFLD\.BETA is -1\.0; it must be at least 0"),
        ({"share_weight": -1.0}, r"DISTILL\.FSFLD\.SHARE_WEIGHT is -1\.0"),
        ({"levels": (0, 2)}, r"DISTILL\.FSFLD\.LEVELS is \(0, 2\); it must be different indices .* 0 to 1"),
        ({"levels": (1, 1)}, r"DISTILL\.FSFLD\.LEVELS is \(1, 1\)"),
        ({"levels": (-1,)}, r"DISTILL\.FSFLD\.LEVELS is \(-1,\)"),
        ({"levels": (1,), "share_head": True}, r"DISTILL\.FSFLD\.LEVELS is \(1,\).*such that 0 is among them"),
        ({"dist_schedule": "step"}, r"DISTILL\.DIST_SCHEDULE is 'step'"),
    ],
)
def test_bad_settings_are_one_line_with_their_key(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        build(**changes)
    assert "\n" not in str(caught.value)


def test_the_config_decides():
    cfg = config("DISTILL.METHOD", "FSFLD", "DISTILL.FSFLD.LEVELS", (0, 2), "DISTILL.FSFLD.BETA", 0.0)
    student, bank = network(), TeacherBank([network("MODEL.LANDMARK.CHANNELS", 24)], ["the teacher"])
    method = build_distiller(cfg, student, bank)
    assert method.levels == (0, 2) and method.beta == 0 and method.alpha == 0.5 and method.shared is None
    assert method.criterion is student.criterion
