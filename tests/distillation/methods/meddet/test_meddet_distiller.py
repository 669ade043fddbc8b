"""MedDet's losses (equations 13 and 14), and where their gradients go."""

import math
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from box_truth import truth_of
from torch import nn

from meddet_d2.distillation import DistillationBatch, Observation, TeacherBank, TeacherHeads, task_of
from meddet_d2.distillation.methods.meddet.adversarial import discriminator_loss
from meddet_d2.distillation.methods.meddet.meddet_distiller import imitation_losses

DETECTION = ("loss_a", "loss_b")


def observe(student: nn.Module, bank, inputs: list[dict], progress: float = 1.0) -> DistillationBatch:
    """What one forward pass of each network gives."""
    task = task_of(student)
    targets, teachers = task.targets(student, inputs), bank.observe(inputs)
    own = task.observe(student, inputs, targets=targets)
    return DistillationBatch(inputs, own, teachers, targets, TeacherHeads(bank, teachers, targets), progress)


def touched(module: nn.Module) -> bool:
    return any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in module.parameters())


def all_touched(module: nn.Module) -> bool:
    return all(p.grad is not None for p in module.parameters())


@pytest.fixture
def student(detector):
    return detector(6)


@pytest.mark.parametrize("reduction, expected", [("relative", 1.0), ("mean", 9.0), ("sum", 9.0 * 3 * 16 * 16)])
def test_imitation_loss_of_predicting_the_mean(reduction, expected):
    target = torch.randn(2, 3, 16, 16)
    target = 3 * (target - target.mean()) / target.std(correction=0) + 5
    mean = torch.full_like(target, 5.0)
    (loss,), (perfect,) = (imitation_losses([target], [x], reduction) for x in (mean, target))
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert perfect.item() == 0


def test_relative_imitation_does_not_see_the_teachers_scale():
    target, prediction = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    losses = [imitation_losses([s * target], [s * prediction], "relative")[0] for s in (0.1, 1.0, 30.0)]
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(losses[2], losses[1])


def test_relative_imitation_survives_a_level_that_says_nothing():
    targets = [torch.randn(2, 3, 8, 8), torch.full((2, 3, 1, 1), 4.0)]
    losses = imitation_losses(targets, [targets[0], targets[1] + 0.1], "relative")
    assert losses[0].item() == 0
    assert losses[1].item() == pytest.approx(0.01 / (0.01 * targets[0].var(correction=0).item()), rel=1e-4)
    assert imitation_losses([torch.ones(1, 3, 1, 1)], [torch.ones(1, 3, 1, 1)], "relative")[0].item() == 0


def test_weighted_and_standardized_imitation_against_loops():
    """Plain loops in float64: every mean and variance under the cells' weights, channel by channel."""
    generator = torch.Generator().manual_seed(5)
    scales = torch.tensor([0.001, 1.0, 20.0]).view(1, 3, 1, 1)  # the first channel lies below the floor
    targets = [torch.randn(2, 3, n, n, generator=generator, dtype=torch.float64) * scales + 2 for n in (4, 2)]
    predictions = [x + torch.randn(x.shape, generator=generator, dtype=torch.float64) for x in targets]
    weights = [torch.rand(2, 1, n, n, generator=generator, dtype=torch.float64) for n in (4, 2)]
    weights = [w / w.mean() for w in weights]

    def channel(level, c):
        """Weighted mean squared error and variance of one channel."""
        t, p, w = targets[level][:, c].flatten(), predictions[level][:, c].flatten(), weights[level].flatten()
        mean = sum(a * b for a, b in zip(w, t, strict=True)) / len(t)
        variance = sum(a * (b - mean) ** 2 for a, b in zip(w, t, strict=True)) / len(t)
        return sum(a * (b - q) ** 2 for a, b, q in zip(w, t, p, strict=True)) / len(t), variance

    pairs = [[channel(level, c) for c in range(3)] for level in range(2)]
    floor = max(variance for level in pairs for _, variance in level) / 100
    expected = [sum(error / max(variance, floor) for error, variance in level) / 3 for level in pairs]
    losses = imitation_losses(targets, predictions, "standardized", weights)
    for value, loss in zip(expected, losses, strict=True):
        assert loss.item() == pytest.approx(value.item(), rel=1e-10)

    means = imitation_losses(targets, predictions, "mean", weights)
    for level, mean in zip(pairs, means, strict=True):
        assert mean.item() == pytest.approx(sum(error for error, _ in level).item() / 3, rel=1e-10)


def test_with_all_cells_alike_the_weights_change_nothing():
    targets, predictions = ([torch.randn(2, 3, 8, 8)] for _ in range(2))
    for reduction in ("relative", "standardized", "mean", "sum"):
        plain = imitation_losses(targets, predictions, reduction)
        torch.testing.assert_close(imitation_losses(targets, predictions, reduction, [torch.ones(2, 1, 8, 8)]), plain)


def test_with_the_whole_share_the_imitation_looks_into_the_boxes_alone(meddet, student, trained_bank, batch):
    inputs, gradients = batch(), []
    truth = truth_of([[2.0, 3.0, 5.5, 6.0]], [], [], [])
    for share in (0.0, 1.0):
        method = meddet(dist_foreground=share, strides=(1, 2))
        observed = observe(student, trained_bank, inputs)
        generated = [x.detach().requires_grad_() for x in method.generate(observed.student.features)]
        method.generate = lambda features, generated=generated: generated
        method(replace(observed, targets=truth))["loss_dist"].backward()
        gradients.append(generated[0].grad.abs().sum(dim=1))
    inside = torch.zeros_like(gradients[0], dtype=torch.bool)
    inside[0, 3:7, 2:7] = True  # corners are rounded outward, and the last cell belongs to the box
    assert (gradients[0] > 0).all()
    assert torch.equal(gradients[1] > 0, inside)


def test_half_precision_maps_give_a_full_precision_loss():
    target = torch.full((1, 4, 64, 64), 300.0).half()
    assert imitation_losses([target], [torch.zeros_like(target)], "sum")[0].item() == 300.0**2 * 4 * 64 * 64


@pytest.mark.parametrize("reduction, scale", [("relative", 0.25), ("mean", 0.25), ("sum", 1.0)])
def test_the_losses_are_equations_13_and_14(meddet, student, trained_bank, batch, reduction, scale):
    method = meddet(dist_reduction=reduction)
    observed = observe(student, trained_bank, batch())
    losses = method(observed)
    assert list(losses) == [*DETECTION, "loss_dist", "loss_fusion", "loss_adv"]
    for name in DETECTION:
        torch.testing.assert_close(losses[name], 2.0 * 0.5 * observed.student.losses[name])

    fused, generated = method.fuse(observed), method.generate(observed.student.features)
    levels = imitation_losses(fused, generated, reduction)
    torch.testing.assert_close(losses["loss_dist"], 2.0 * 0.3 * scale * (levels[0] + 3 * levels[1]))
    discriminator = method.adversary.discriminator
    logits = discriminator(discriminator.describe(generated))
    adversarial = [-z.sigmoid().log().mean() for z in logits]
    torch.testing.assert_close(losses["loss_adv"], 2.0 * 0.2 * 0.25 * (adversarial[0] + 3 * adversarial[1]))
    head_losses = observed.heads.losses(0, fused)
    torch.testing.assert_close(losses["loss_fusion"], sum(head_losses.values()))

    # At the start the fused map is the lead teacher's own, and the student has not imitated anything.
    torch.testing.assert_close(fused[0], observed.teachers[0].features[0])
    metrics = method.metrics
    assert set(metrics) == {"dist_raw", "adv_raw", "fused_std", "generated_std"}
    assert metrics["fused_std"] == pytest.approx(sum(x.std(correction=0).item() for x in fused) / 2, rel=1e-5)
    if reduction == "relative":
        assert 0.5 < metrics["dist_raw"] < 2


@pytest.mark.parametrize("schedule, factor", [("constant", 1.0), ("linear", 0.25), ("cosine", 0.5 - math.sqrt(0.125))])
def test_schedule_of_the_distillation_loss(meddet, student, trained_bank, batch, schedule, factor):
    inputs, losses = batch(), []
    method = meddet(dist_schedule=schedule)
    for progress in (0.0, 0.75):
        losses.append(method(observe(student, trained_bank, inputs, progress))["loss_dist"].item())
    assert losses[1] == pytest.approx(factor * losses[0], rel=1e-4)


def test_the_adversarial_loss_is_zero_in_its_warmup_and_still_in_the_graph(meddet, student, trained_bank, batch):
    method = meddet(adversarial_warmup=0.2)
    early = method(observe(student, trained_bank, batch(), 0.19))["loss_adv"]
    assert early.item() == 0 and early.requires_grad
    assert method.adversary.take(), "the discriminator learns from the start"
    assert method(observe(student, trained_bank, batch(), 0.2))["loss_adv"].item() > 0


def test_without_a_discriminator_the_adversarial_loss_is_absent(meddet, student, trained_bank, batch):
    method = meddet(discriminator=None)
    losses = method(observe(student, trained_bank, batch()))
    assert "loss_adv" not in losses and method.adversary is None and "adv_raw" not in method.metrics


def test_without_its_parts_it_is_plain_feature_distillation(meddet, trained_bank, detector, batch):
    """Table III's first row: the target is the mean of the teachers' maps, and nothing but L_dist is added."""
    bank = TeacherBank([deepcopy(trained_bank.networks[k]) for k in (0, 2)], ["a", "c"])
    method = meddet(fusion="Sum", discriminator=None, teacher_channels=[[12, 12], [12, 12]])
    observed = observe(detector(6), bank, batch())
    losses = method(observed)
    assert list(losses) == [*DETECTION, "loss_dist", "loss_fusion"] and method.adversary is None
    # At the start exactly; then AFA learns which channels of the teachers to bring together.
    for target, *maps in zip(method.fuse(observed), *(x.features for x in observed.teachers), strict=True):
        torch.testing.assert_close(target, torch.stack(maps).mean(dim=0))
    # L_dist teaches the student's side, L_fusion the teachers' AFA; they share nothing.
    losses["loss_dist"].backward()
    assert not touched(method.teacher_alignment) and touched(method.student_alignment) and touched(method.generator)


def test_gradients_go_where_they_should_and_nowhere_else(meddet, student, trained_bank, batch):
    method = meddet()

    def learners_of(name):
        for module in (student, method, method.adversary.discriminator):
            module.zero_grad()
        method(observe(student, trained_bank, batch()))[name].backward()
        modules = {
            "backbone": student.backbone,
            "student AFA": method.student_alignment,
            "generator": method.generator,
            "teachers' AFA": method.teacher_alignment,
            "fusion": method.fusion,
            "discriminator": method.adversary.discriminator,
            **{f"teacher {k}": teacher for k, teacher in enumerate(trained_bank.networks)},
        }
        return {name for name, module in modules.items() if touched(module)}

    assert learners_of("loss_a") == {"backbone"}
    assert learners_of("loss_dist") == {"backbone", "student AFA", "generator"}
    assert learners_of("loss_adv") == {"backbone", "student AFA", "generator"}
    assert learners_of("loss_fusion") == {"teachers' AFA", "fusion"}

    student.zero_grad()
    method.zero_grad()
    real, fake = (list(maps) for maps in zip(*method.adversary.take(), strict=True))
    discriminator = method.adversary.discriminator
    judged = zip(discriminator(real), discriminator(fake), strict=True)
    sum(discriminator_loss(a, b) for a, b in judged).backward()
    assert all_touched(method.adversary.discriminator) and not touched(student) and not touched(method)


@pytest.mark.parametrize("kind", ["plain", "residual", "none"])
def test_what_stands_between_the_student_s_map_and_the_target(meddet, student, trained_bank, batch, kind):
    method = meddet(generator=kind)
    observed = observe(student, trained_bank, batch())
    generated = method.generate(observed.student.features)
    aligned = [
        align(x, x.shape[-2:]) for align, x in zip(method.student_alignment, observed.student.features, strict=True)
    ]
    # A residual generator starts as no generator at all.
    same = [torch.equal(x, y) for x, y in zip(generated, aligned, strict=True)]
    assert same == [kind != "plain"] * 2
    assert (sum(p.numel() for p in method.generator.parameters()) == 0) == (kind == "none")


def test_a_residual_generator_learns(meddet, student, trained_bank, batch):
    method = meddet(generator="residual")
    method(observe(student, trained_bank, batch()))["loss_dist"].backward()
    last = method.generator[0].layers[-1]
    assert last.weight.grad.abs().sum() > 0
    with torch.no_grad():
        last.weight.normal_()
    x = torch.randn(1, 12, 4, 4)
    made = method.generator[0](x)
    torch.testing.assert_close(made - x, method.generator[0].layers(x))
    assert not torch.equal(made, x)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"discriminator": None},
        {"fusion": "Sum"},
        {"fusion": "Concat"},
        {"generator": "residual"},
        {"generator": "none"},
    ],
)
def test_every_parameter_has_part_in_every_step(meddet, student, trained_bank, batch, changes):
    # Otherwise DistributedDataParallel waits for a gradient that never comes.
    method = meddet(**changes)
    sum(method(observe(student, trained_bank, batch(), 0.0)).values()).backward()
    assert all_touched(method) and all_touched(student)


def test_the_discriminator_is_no_part_of_the_distiller(meddet):
    method = meddet()
    assert not any("discriminator" in name for name, _ in method.named_modules())
    owned = {id(p) for p in method.parameters()}
    assert not owned & {id(p) for p in method.adversary.discriminator.parameters()}
    assert method.state_dict().keys() == meddet(discriminator=None).state_dict().keys()


def spread_after_training(method, student, bank, inputs, *, detached: bool) -> tuple[float, float]:
    """The fused map's spread before and after 100 steps."""
    observed = observe(student, bank, inputs)
    observed = replace(observed, student=Observation([x.detach() for x in observed.student.features]))
    optimizer = torch.optim.Adam(method.parameters(), lr=1e-2)

    def spread():
        with torch.no_grad():
            return torch.stack([x.std() for x in method.fuse(observed)]).mean().item()

    before = spread()
    for _ in range(100):
        optimizer.zero_grad()
        if detached:
            losses = method(observed)
            (losses["loss_dist"] + losses["loss_fusion"]).backward()
        else:
            sum(imitation_losses(method.fuse(observed), method.generate(observed.student.features), "mean")).backward()
        optimizer.step()
    return before, spread()


def test_the_fused_map_does_not_collapse(meddet, student, trained_bank, batch):
    before, after = spread_after_training(meddet(), student, trained_bank, batch(), detached=True)
    assert after > 0.8 * before


def test_taught_through_the_imitation_loss_it_would_collapse(meddet, student, trained_bank, batch):
    before, after = spread_after_training(meddet(), student, trained_bank, batch(), detached=False)
    assert after < 0.2 * before


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"sigma": -0.1}, r"DISTILL\.MEDDET\.SIGMA is -0\.1"),
        ({"tau": float("nan")}, r"DISTILL\.MEDDET\.TAU is nan"),
        ({"sigma": 0.6, "tau": 0.5}, r"DISTILL\.MEDDET\.SIGMA is 0\.6 and DISTILL\.MEDDET\.TAU is 0\.5.*at most 1"),
        ({"gain": 0.0}, r"DISTILL\.MEDDET\.GAIN is 0\.0"),
        ({"fusion_share": 0.0}, r"DISTILL\.MEDDET\.FUSION\.SHARE is 0\.0"),
        ({"fusion_share": 1.5}, r"DISTILL\.MEDDET\.FUSION\.SHARE is 1\.5"),
        ({"fusion_weight": -1.0}, r"DISTILL\.MEDDET\.FUSION\.LOSS_WEIGHT is -1\.0"),
        (
            {"level_weights": (1.0,)},
            r"DISTILL\.MEDDET\.LEVEL_WEIGHTS has 1 values; .* the student's 2 levels",
        ),
        ({"level_weights": (0.0, 0.0)}, r"DISTILL\.MEDDET\.LEVEL_WEIGHTS is \(0\.0, 0\.0\)"),
        ({"lead": 3}, r"DISTILL\.MEDDET\.FUSION\.LEAD_TEACHER is 3"),
        ({"lead": -1}, r"DISTILL\.MEDDET\.FUSION\.LEAD_TEACHER is -1"),
        ({"fusion": "Mean"}, r"DISTILL\.MEDDET\.FUSION\.NAME is 'Mean'; it must be one of: Concat, LWFF, Sum"),
        (
            {"dist_reduction": "max"},
            r"DISTILL\.MEDDET\.DIST_REDUCTION is 'max'; it must be one of: relative, standardized, mean, sum",
        ),
        ({"dist_schedule": "step"}, r"DISTILL\.DIST_SCHEDULE is 'step'; it must be one of: constant, linear, cosine"),
        (
            {"generator": "unet"},
            r"MEDDET\.AATM\.GENERATOR is 'unet'; it must be one of: plain, residual, none",
        ),
        ({"adversarial_loss": "hinge"}, r"DISTILL\.MEDDET\.AATM\.GENERATOR_LOSS is 'hinge'"),
        ({"adversarial_warmup": 1.5}, r"DISTILL\.MEDDET\.AATM\.WARMUP is 1\.5"),
    ],
)
def test_bad_settings_are_one_line_with_their_key(meddet, changes, message):
    with pytest.raises(ValueError, match=message) as error:
        meddet(**changes)
    assert "\n" not in str(error.value)


def test_a_simplex_closed_by_rounding_is_accepted(meddet):
    assert meddet(sigma=0.7, tau=0.1 + 0.2).adversarial_weight >= 0
