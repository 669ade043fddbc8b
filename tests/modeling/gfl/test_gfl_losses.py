import math

import pytest
import torch

from meddet_d2.modeling.gfl.gfl_losses import check_simplex, distribution_focal_loss, quality_focal_loss


def slow_qfl(logits, labels, quality, beta):
    total = 0.0
    for row, label, iou in zip(logits.tolist(), labels.tolist(), quality.tolist(), strict=True):
        for channel, logit in enumerate(row if label <= len(row) else []):  # the label after the background: padding
            p = 1 / (1 + math.exp(-logit))
            if channel == label:
                cross_entropy = -(iou * math.log(p) + (1 - iou) * math.log(1 - p))
                total += cross_entropy * abs(iou - p) ** beta
            else:
                total += -math.log(1 - p) * p**beta
    return total


def qfl(logits, labels, quality, **settings):
    """The loss of labels and qualities; the label C is the background, and C + 1 takes no part."""
    classes = logits.shape[-1]
    target = torch.nn.functional.one_hot(labels, classes + 2)[:, :classes] * quality[:, None]
    return quality_focal_loss(logits, target, labels <= classes, **settings)


def slow_dfl(logits, target, weight):
    total = 0.0
    for sides, distances, w in zip(logits.tolist(), target.tolist(), weight.tolist(), strict=True):
        for bins, d in zip(sides, distances, strict=True):
            log_sum = math.log(sum(math.exp(b) for b in bins))
            i = min(math.floor(d), len(bins) - 2)
            loss = (i + 1 - d) * (log_sum - bins[i]) + (d - i) * (log_sum - bins[i + 1])
            total += w * loss / 4
    return total


def qfl_case(num_classes=3):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(40, num_classes, generator=generator, dtype=torch.float64) * 3
    labels = torch.randint(0, num_classes + 2, (40,), generator=generator)
    quality = torch.rand(40, generator=generator, dtype=torch.float64)
    quality[:2] = torch.tensor([0.0, 1.0])
    return logits, labels, quality


def dfl_case(reg_max=16):
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(30, 4, reg_max + 1, generator=generator, dtype=torch.float64) * 2
    target = torch.rand(30, 4, generator=generator, dtype=torch.float64) * reg_max
    target[0] = torch.tensor([0.0, 1.0, reg_max - 1.0, float(reg_max)])
    weight = torch.rand(30, generator=generator, dtype=torch.float64)
    return logits, target, weight


@pytest.mark.parametrize("beta", [1.0, 2.0, 2.5])
def test_qfl_equals_plain_loops(beta):
    case = qfl_case()
    torch.testing.assert_close(qfl(*case, beta=beta).item(), slow_qfl(*case, beta), rtol=1e-12, atol=0)


def test_qfl_gradient():
    logits, labels, quality = qfl_case()
    assert torch.autograd.gradcheck(lambda x: qfl(x, labels, quality), logits.requires_grad_())


def test_qfl_is_least_where_the_score_is_the_quality():
    labels, quality = torch.tensor([0]), torch.tensor([0.7])
    logits = torch.linspace(-6, 6, 481)
    losses = torch.stack([qfl(x.view(1, 1), labels, quality) for x in logits])
    assert logits[losses.argmin()].sigmoid().item() == pytest.approx(0.7, abs=0.01)
    assert losses.min() < 1e-4


def test_qfl_is_finite_for_extreme_scores():
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    loss = qfl(logits, torch.tensor([1, 2]), torch.tensor([0.5, 0.0]))
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all()


def test_qfl_refuses_a_small_beta():
    with pytest.raises(ValueError, match=r"MODEL\.GFL\.QFL_BETA"):
        qfl(*qfl_case(), beta=0.5)


@pytest.mark.parametrize("reg_max", [1, 7, 16])
def test_dfl_equals_plain_loops(reg_max):
    logits, target, weight = dfl_case(reg_max)
    loss = distribution_focal_loss(logits.flatten(1), target, weight)
    torch.testing.assert_close(loss.item(), slow_dfl(logits, target, weight), rtol=1e-12, atol=0)
    batches = (x.unflatten(0, (2, 15)) for x in (logits.flatten(1), target, weight))
    torch.testing.assert_close(distribution_focal_loss(*batches), loss)


def test_dfl_gradient():
    logits, target, weight = dfl_case(reg_max=4)
    assert torch.autograd.gradcheck(
        lambda x: distribution_focal_loss(x, target, weight), logits.flatten(1).requires_grad_()
    )


def test_dfl_without_positives_is_zero_and_reaches_the_logits():
    logits = torch.zeros(0, 4 * 17, requires_grad=True)
    loss = distribution_focal_loss(logits, torch.zeros(0, 4), torch.zeros(0))
    loss.backward()
    assert loss == 0 and logits.grad is not None


def test_dfl_is_least_where_the_expectation_is_the_target():
    target = torch.tensor([[0.25, 1.5, 2.75, 3.0]])
    best = torch.full((1, 4, 5), -40.0)
    for side, d in enumerate(target[0].tolist()):
        i = min(int(d), 3)
        best[0, side, i] = math.log(max(i + 1 - d, 1e-12))
        best[0, side, i + 1] = math.log(max(d - i, 1e-12))
    loss = distribution_focal_loss(best.requires_grad_().flatten(1), target, torch.ones(1))
    loss.backward()
    assert best.grad.abs().max() < 1e-6


@pytest.mark.parametrize("weights", [(-0.1, 0.5), (0.5, -0.1), (0.6, 0.5), (float("nan"), 0.1)])
def test_weights_outside_the_simplex_are_refused(weights):
    with pytest.raises(ValueError, match=r"^A\.FIRST is .* and A\.SECOND is .*at most 1\.$"):
        check_simplex(*weights, "A.FIRST", "A.SECOND")


@pytest.mark.parametrize("weights", [(0, 0), (1, 0), (0, 1), (4 / 13, 9 / 13), (0.1, 0.9), (1 / 3, 2 / 3)])
def test_weights_on_the_simplex_are_accepted(weights):
    check_simplex(*weights, "A.FIRST", "A.SECOND")
