"""What a heat map costs: mean squared error, or adaptive wing; and the mean over an image's cells and its landmarks.

Shape legend:
    N: images; K: landmarks; h, w: height and width of a map in cells
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor


def squared_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Half the squared difference of every cell, as Fast Pose Distillation has it (Zhang et al., CVPR 2019)."""
    return 0.5 * (predicted - target).square()


def adaptive_wing(
    predicted: Tensor,
    target: Tensor,
    alpha: float = 2.1,
    omega: float = 14.0,
    epsilon: float = 1.0,
    theta: float = 0.5,
) -> Tensor:
    """Adaptive wing loss of every cell (Wang et al., ICCV 2019).

    With the difference d and the target y it is ``omega ln(1 + |d / epsilon|^(alpha - y))`` below theta, and the
    straight line that goes on from there above it. Small errors count more on a landmark than on the background.

    Args:
        predicted: of any shape.
        target: of the same shape, in [0, 1].
        alpha: above 2, so that the loss is smooth at 0 everywhere.
        omega: the size of the loss, above 0.
        epsilon: where the logarithm bends, above 0.
        theta: where the line begins, above 0.
    """
    difference, power = (predicted - target).abs(), alpha - target
    ratio = (theta / epsilon) ** power
    slope = omega / (1 + ratio) * power * (theta / epsilon) ** (power - 1) / epsilon
    curve = omega * torch.log1p((difference / epsilon) ** power)
    line = slope * (difference - theta) + omega * torch.log1p(ratio)
    return torch.where(difference < theta, curve, line)


def cell_weights(valid: Tensor, reduction: str, sigma: float) -> Tensor:
    """How much each cell of an image counts in a map's loss.

    Args:
        valid: (N, 1, h, w) bool, False in an image's padding, which does not count.
        reduction: "mean" over the image's cells; or "relative" to what a map of zeros costs by half the squared error:
            half the target's squares come to pi sigma^2 / 2 however large the map is.
        sigma: of the targets, in cells.

    Returns:
        (N, 1, h, w) float32.
    """
    weights = valid.float()
    if reduction == "relative":
        return weights * (2 / (math.pi * sigma**2))
    return weights / weights.sum(dim=(2, 3), keepdim=True).clamp(min=1)


REDUCTIONS = ("mean", "relative")
LOSSES: dict[str, Callable[..., Tensor]] = {"mse": squared_error, "adaptive_wing": adaptive_wing}
