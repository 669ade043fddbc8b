"""Arithmetic of boxes: corners, distances from a point, and IoU.

Shape legend:
    A, B, M: numbers of boxes

A box is x0, y0, x1, y1 in pixels, or four distances left, top, right, bottom from a point.
"""

import torch
from torch import Tensor

# Keeps the gradient finite where a box has no area, as fvcore's giou_loss does.
_EPSILON = 1e-7


def distances_to_boxes(centers: Tensor, distances: Tensor) -> Tensor:
    """(..., 2) points x, y and (..., 4) distances -> (..., 4) boxes."""
    return torch.cat([centers - distances[..., :2], centers + distances[..., 2:]], dim=-1)


def boxes_to_distances(centers: Tensor, boxes: Tensor) -> Tensor:
    """The inverse of :func:`distances_to_boxes`; negative where the point lies outside of the box."""
    return torch.cat([centers - boxes[..., :2], boxes[..., 2:] - centers], dim=-1)


def overlaps(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """IoU of boxes (..., 4) that broadcast against each other -> (...), in [0, 1]; 0 for two empty boxes."""
    areas = (boxes1[..., 2:] - boxes1[..., :2]).prod(dim=-1) + (boxes2[..., 2:] - boxes2[..., :2]).prod(dim=-1)
    low = torch.maximum(boxes1[..., :2], boxes2[..., :2])
    high = torch.minimum(boxes1[..., 2:], boxes2[..., 2:])
    intersection = (high - low).clamp(min=0).prod(dim=-1)
    union = areas - intersection
    return torch.where(union > 0, intersection / union, 0.0)


def center_distances(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """What distance-IoU takes off the IoU (Zheng et al., AAAI 2020): (..., 4) boxes that broadcast -> (...), in [0, 1].

    The squared distance of the centres over the squared diagonal of the smallest box around both.
    """
    centers = ((boxes[..., :2] + boxes[..., 2:]) / 2 for boxes in (boxes1, boxes2))
    apart = (next(centers) - next(centers)).square().sum(dim=-1)
    low = torch.minimum(boxes1[..., :2], boxes2[..., :2])
    high = torch.maximum(boxes1[..., 2:], boxes2[..., 2:])
    return apart / (high - low).square().sum(dim=-1).clamp(min=torch.finfo(apart.dtype).tiny)


def concentric_iou(distances1: Tensor, distances2: Tensor) -> Tensor:
    """IoU of boxes around the same points, both as distances (..., 4), none negative -> (...), in [0, 1]."""
    both, union, _ = _concentric_areas(distances1, distances2)
    return both / union


def concentric_giou_loss(distances1: Tensor, distances2: Tensor) -> Tensor:
    """``1 - GIoU`` (Rezatofighi et al., CVPR 2019) of boxes around the same points -> (...), in [0, 2].

    Args:
        distances1, distances2: (..., 4), none negative: both boxes hold their point, so they overlap.
    """
    both, union, hull = _concentric_areas(distances1, distances2)
    return 1 - both / (union + _EPSILON) + (hull - union) / (hull + _EPSILON)


def _concentric_areas(distances1: Tensor, distances2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Areas of what both boxes cover, of what one of them covers, and of the smallest box around both."""
    smaller, larger = torch.minimum(distances1, distances2), torch.maximum(distances1, distances2)
    sides = ((d[..., :2] + d[..., 2:]).unbind(-1) for d in (smaller, larger, distances1, distances2))
    both, hull, first, second = (width * height for width, height in sides)
    return both, first + second - both, hull
