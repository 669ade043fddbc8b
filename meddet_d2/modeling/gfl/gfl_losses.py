"""Quality Focal Loss and Distribution Focal Loss (Li et al., "Generalized Focal Loss", NeurIPS 2020).

Shape legend:
    N: locations (all levels and images together), M: positive locations
    C: classes; R: reg_max, so that a distance is a distribution over R + 1 bins

Both losses return a SUM. The detector divides: QFL by the number of positives, DFL by the sum of their weights.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def quality_focal_loss(logits: Tensor, target: Tensor, valid: Tensor | None = None, beta: float = 2.0) -> Tensor:
    """Quality Focal Loss, equation 5 of the paper: ``|y - p|^beta * BCE(p, y)``.

    The target y is the localisation quality at the channel of the object's class and 0 in every other channel, so
    that the score learns to rank boxes by their overlap. The modulating factor takes part in the gradient.

    Args:
        logits: (..., C) class scores before the sigmoid.
        target: (..., C) in [0, 1], the IoU of the predicted box and its object at the object's class; 0 elsewhere.
        valid: (...) bool, False for what takes no part: padding; None: everything takes part.
        beta: strength of the focus on badly scored locations, at least 1.

    Returns:
        Scalar, the sum over locations and classes.

    Raises:
        ValueError: if beta is below 1, where the gradient at a perfect score is not finite.
    """
    if beta < 1:
        raise ValueError(f"QFL needs beta >= 1, got {beta}: set MODEL.GFL.QFL_BETA to 2.0, the paper's value")
    distance = (target - logits.sigmoid()).abs()
    loss = distance.pow(beta) * F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return loss.sum() if valid is None else (loss * valid[..., None]).sum()


def distribution_focal_loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Distribution Focal Loss, equation 6 of the paper: cross entropy with the two bins around the target.

    For a target d between the bins i and i + 1: ``(i + 1 - d) * CE(i) + (d - i) * CE(i + 1)``.

    Args:
        logits: (..., 4 * (R + 1)), in the order left, top, right, bottom.
        target: (..., 4) distances in strides, in [0, R].
        weight: (...) weight of each location.

    Returns:
        Scalar, the weighted sum over locations of the mean over the four sides; 0 without a location.
    """
    log_prob = logits.unflatten(-1, (4, logits.shape[-1] // 4)).log_softmax(dim=-1)
    # A target of exactly R lies on the last bin: its left neighbour is R - 1, with weight 0.
    left = target.floor().clamp(max=log_prob.shape[-1] - 2).long()
    to_left = torch.gather(log_prob, -1, left[..., None]).squeeze(-1)
    to_right = torch.gather(log_prob, -1, left[..., None] + 1).squeeze(-1)
    per_side = -((left + 1 - target) * to_left + (target - left) * to_right)
    return (per_side.mean(dim=-1) * weight).sum()


def check_simplex(first: float, second: float, first_key: str, second_key: str) -> None:
    """Raise ValueError unless both weights and the rest of 1 that they leave are at least 0 (eq. 12 and 14)."""
    # 4/13 + 9/13 may come to a little more than 1.
    if not (first >= 0 and second >= 0 and first + second <= 1 + 1e-9):
        raise ValueError(
            f"{first_key} is {first} and {second_key} is {second}; both must be at least 0 and their sum at most 1."
        )
