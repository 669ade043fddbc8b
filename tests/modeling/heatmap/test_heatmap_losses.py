"""What a heat map costs."""

import math

import pytest
import torch

from meddet_d2.modeling.heatmap.gaussian_targets import gaussian_maps
from meddet_d2.modeling.heatmap.heatmap_losses import adaptive_wing, cell_weights, squared_error


def wing_by_hand(predicted, target, alpha=2.1, omega=14.0, epsilon=1.0, theta=0.5):
    """The paper's definition, with its constants A and C."""
    power, difference = alpha - target, abs(predicted - target)
    if difference < theta:
        return omega * math.log(1 + abs(difference / epsilon) ** power)
    a = omega * (1 / (1 + (theta / epsilon) ** power)) * power * (theta / epsilon) ** (power - 1) * (1 / epsilon)
    c = theta * a - omega * math.log(1 + (theta / epsilon) ** power)
    return a * difference - c


@pytest.mark.parametrize("constants", [(2.1, 14.0, 1.0, 0.5), (2.5, 8.0, 0.7, 0.3)])
def test_adaptive_wing_is_its_papers(constants):
    predicted, target = torch.linspace(-1.5, 2.5, 41).double(), torch.linspace(0, 1, 11).double()
    found = adaptive_wing(*torch.meshgrid(predicted, target, indexing="ij"), *constants)
    expected = [[wing_by_hand(p, t, *constants) for t in target.tolist()] for p in predicted.tolist()]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_adaptive_wing_has_a_gradient_everywhere():
    predicted = torch.tensor([0.0, 0.5, 1.0, 1.5, -3.0], requires_grad=True)
    adaptive_wing(predicted, torch.tensor([0.0, 0.5, 1.0, 1.0, 0.0])).sum().backward()
    assert torch.isfinite(predicted.grad).all()
    assert predicted.grad[:3].tolist() == [0, 0, 0] and predicted.grad[3] > 0 > predicted.grad[4]


def test_the_squared_error_is_halved():
    assert squared_error(torch.tensor([3.0, -1.0]), torch.tensor([1.0, -1.0])).tolist() == [2.0, 0.0]


def test_weights_are_the_images_cells():
    valid = torch.zeros(2, 1, 4, 6, dtype=torch.bool)
    valid[0, :, :2, :3] = True
    weights = cell_weights(valid, "mean", 2.0)
    assert weights[0, 0, :2, :3].unique().item() == pytest.approx(1 / 6) and weights.sum() == pytest.approx(1)
    assert torch.isfinite(weights).all()


@pytest.mark.parametrize("size", [40, 80])
def test_relative_to_a_map_of_zeros(size):
    target = gaussian_maps(torch.tensor([[[20.3, 19.6]]]), torch.tensor([[True]]), (size, size), 2.0)
    weights = cell_weights(torch.ones(1, 1, size, size, dtype=torch.bool), "relative", 2.0)
    assert (squared_error(torch.zeros_like(target), target) * weights).sum().item() == pytest.approx(1, abs=1e-4)
