"""Arithmetic of boxes: corners, distances from a point, and IoU.

Shape legend:
    A, B, M: numbers of boxes

A box is x0, y0, x1, y1 in pixels, or four distances left, top, right, bottom from a point.
"""

import torch
from torch import Tensor
from torchvision.ops import box_iou


def distances_to_boxes(centers: Tensor, distances: Tensor) -> Tensor:
    """(..., 2) points x, y and (..., 4) distances -> (..., 4) boxes."""
    return torch.cat([centers - distances[..., :2], centers + distances[..., 2:]], dim=-1)


def boxes_to_distances(centers: Tensor, boxes: Tensor) -> Tensor:
    """The inverse of :func:`distances_to_boxes`; negative where the point lies outside of the box."""
    return torch.cat([centers - boxes[..., :2], boxes[..., 2:] - centers], dim=-1)


def pairwise_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """IoU of every pair: boxes (A, 4) and (B, 4) -> (A, B) in [0, 1]; 0 for two empty boxes."""
    return box_iou(boxes1, boxes2).nan_to_num(0.0)


def concentric_iou(distances1: Tensor, distances2: Tensor) -> Tensor:
    """IoU of the boxes around M points, each given by two sets of distances (M, 4), none negative -> (M,) in [0, 1]."""
    smaller = torch.minimum(distances1, distances2)
    both, first, second = ((d[:, 0] + d[:, 2]) * (d[:, 1] + d[:, 3]) for d in (smaller, distances1, distances2))
    return both / (first + second - both)
