"""LD against plain loops."""

import math
from types import SimpleNamespace

import pytest
import torch

from meddet_d2.distillation import DistillationBatch, Observation
from meddet_d2.distillation.methods import LD
from meddet_d2.distillation.tasks.boxes_gfl import HeadOutputs, Regions

N, L, C, BINS = 2, 7, 3, 5
TERMS = ("loss_ld", "loss_ld_vlr", "loss_kd")


class FakeRegions:
    """The first image has positives and a region around them, the second nothing; remembers the ratios asked for."""

    def __init__(self, positives=4):
        self.asked = []
        self.positive = torch.zeros(N, L, dtype=torch.bool)
        self.positive[0, :positives] = True
        self.valuable = torch.zeros(N, L, dtype=torch.float64)
        if positives:
            self.valuable[0, 3:6] = torch.tensor([0.3, 0.2, 0.45])

    def __call__(self, features, targets, ratio):
        self.asked.append(ratio)
        return Regions(self.positive, self.valuable)


def build(regions=None, **changes):
    arguments = {
        "weight": 0.25,
        "vlr_weight": 0.25,
        "vlr_ratio": 0.25,
        "temperature": 10.0,
        "kd_weight": 10.0,
        "kd_temperature": 2.0,
        "kd_activation": "softmax",
        "dist_schedule": "constant",
    }
    return LD(regions=regions or FakeRegions(), **{**arguments, **changes})


def draw():
    return HeadOutputs(
        4 * torch.randn(N, L, C, dtype=torch.float64), 4 * torch.randn(N, L, 4 * BINS, dtype=torch.float64)
    )


def draw_student():
    return HeadOutputs(*(x.requires_grad_() for x in draw()))


def as_levels(outputs):
    """As a head returns them: here of one level, a single row of cells."""
    return tuple([x.transpose(1, 2).unsqueeze(2)] for x in outputs)


def batch_of(student, teachers, losses=None, **changes):
    """What a student's and its teachers' heads say."""
    return DistillationBatch(
        inputs=[{}] * N,
        student=Observation([], as_levels(student), losses or {}),
        teachers=[Observation([]) for _ in teachers],
        targets=[],
        heads=SimpleNamespace(outputs=lambda k: as_levels(teachers[k])),
        **changes,
    )


def slow_softmax(logits, temperature):
    total = sum(math.exp(z / temperature) for z in logits)
    return [math.exp(z / temperature) / total for z in logits]


def slow_kl(student, teacher, temperature):
    p, q = slow_softmax(teacher, temperature), slow_softmax(student, temperature)
    return temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / len(p)


def slow_binary_kl(student, teacher, temperature):
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        q, p = (1 / (1 + math.exp(-z / temperature)) for z in (s, t))
        total += p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    return temperature**2 * total / len(student)


def slow_sides(student, teacher):
    sides = [slice(i * BINS, (i + 1) * BINS) for i in range(4)]
    return sum(slow_kl(student[side], teacher[side], 10.0) for side in sides)


def slow_ld(student, teacher, positive, valuable, classes_kl):
    main = around = classes = count = 0.0
    for n in range(N):
        for i in range(L):
            ours, theirs = student.box_logits[n, i].tolist(), teacher.box_logits[n, i].tolist()
            our_classes, their_classes = student.cls_logits[n, i].tolist(), teacher.cls_logits[n, i].tolist()
            around += valuable[n, i].item() * slow_sides(ours, theirs) / 16
            if positive[n, i]:
                score = max(1 / (1 + math.exp(-z)) for z in our_classes)
                main += score * slow_sides(ours, theirs) / 4
                classes += classes_kl(our_classes, their_classes, 2.0)
                count += 1
    return 0.25 * main, 0.25 * around, 10.0 * classes / count


@pytest.mark.parametrize("activation, classes_kl", [("softmax", slow_kl), ("sigmoid", slow_binary_kl)])
@pytest.mark.parametrize("num_teachers", [1, 3])
def test_equals_plain_loops(num_teachers, activation, classes_kl):
    student, teachers, regions = draw_student(), [draw() for _ in range(num_teachers)], FakeRegions()
    batch = batch_of(student, teachers, {"loss_qfl": torch.tensor(7.0)})
    losses = build(regions, kd_activation=activation, vlr_ratio=0.3)(batch)
    assert list(losses) == ["loss_qfl", *TERMS] and losses["loss_qfl"].item() == 7 and regions.asked == [0.3]
    each = [slow_ld(student, teacher, regions.positive, regions.valuable, classes_kl) for teacher in teachers]
    for name, values in zip(TERMS, zip(*each, strict=True), strict=True):
        assert losses[name].item() == pytest.approx(sum(values) / num_teachers, rel=1e-10), name
        assert losses[name].item() > 0


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_equal_outputs_cost_nothing(activation):
    student = draw_student()
    equal = batch_of(student, [student])
    assert [build(kd_activation=activation)(equal)[name].item() for name in TERMS] == [0, 0, 0]


def test_the_softmax_does_not_see_how_sure_the_classes_are_and_the_sigmoid_does():
    student = draw_student()
    surer = HeadOutputs(student.cls_logits.detach() + 2, student.box_logits.detach())
    shifted = batch_of(student, [surer])
    assert build()(shifted)["loss_kd"].item() == pytest.approx(0, abs=1e-12)
    assert build(kd_activation="sigmoid")(shifted)["loss_kd"].item() > 0.1


@pytest.mark.parametrize("positives", [4, 0])
def test_who_learns_with_and_without_positives(positives):
    student, teachers = draw_student(), [draw(), draw()]
    for x in [x for outputs in teachers for x in outputs]:
        x.requires_grad_()
    method = build(FakeRegions(positives))
    losses = method(batch_of(student, teachers))
    assert [value.item() == 0 for value in losses.values()] == [positives == 0] * 3
    sum(losses.values()).backward()
    for x in student:
        assert x.grad is not None and x.grad.isfinite().all()
        assert (x.grad.abs().sum() > 0) == (positives > 0)
    assert all(x.grad is None for outputs in teachers for x in outputs)
    assert not list(method.parameters())


def test_the_score_that_weighs_is_not_taught():
    cls_logits, box_logits = student = draw_student()
    build()(batch_of(student, [draw()]))["loss_ld"].backward()
    assert not cls_logits.grad.any() and not box_logits.grad[:, 4:].any()
    assert box_logits.grad[0, :4].any()


def test_the_schedule_scales_it():
    student, teacher = draw_student(), draw()
    batch, late = batch_of(student, [teacher]), batch_of(student, [teacher], progress=0.75)
    method = build(dist_schedule="linear")
    for name in TERMS:
        torch.testing.assert_close(method(late)[name], 0.25 * method(batch)[name])


def test_other_locations_are_refused():
    batch = batch_of(draw_student(), [HeadOutputs(*(x[:, 1:] for x in draw()))])
    with pytest.raises(ValueError, match=r"Teacher 0 sees 6 locations and the student 7.*DISTILL\.TEACHERS") as error:
        build()(batch)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"weight": -1.0}, r"DISTILL\.LD\.WEIGHT is -1\.0; it must be at least 0"),
        ({"vlr_weight": -1.0}, r"DISTILL\.LD\.VLR_WEIGHT"),
        ({"kd_weight": float("nan")}, r"DISTILL\.LD\.KD_WEIGHT is nan"),
        ({"vlr_ratio": 1.5}, r"DISTILL\.LD\.VLR_RATIO is 1\.5; it must be in \[0, 1\]"),
        ({"temperature": 0.0}, r"DISTILL\.LD\.TEMPERATURE is 0\.0"),
        ({"kd_temperature": -2.0}, r"DISTILL\.LD\.KD_TEMPERATURE is -2\.0"),
        ({"kd_activation": "tanh"}, r"DISTILL\.LD\.KD_ACTIVATION is 'tanh'; it must be one of: softmax, sigmoid"),
        ({"dist_schedule": "step"}, r"DISTILL\.DIST_SCHEDULE is 'step'"),
    ],
)
def test_bad_settings_are_one_line_with_their_key(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        build(**changes)
    assert "\n" not in str(error.value)
