"""What a distillation method may ask of the heads, computed only if it does ask.

Shapes in this module: N images, L locations of all levels, C classes, R reg_max, G objects of an image.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from meddet_d2.modeling import GFL
from meddet_d2.modeling.gfl.anchors import join_levels, sizes_of


class HeadOutputs(NamedTuple):
    """A head's output on all levels, in the order of the anchors, at least in single precision."""

    cls_logits: Tensor  # (N, L, C)
    box_logits: Tensor  # (N, L, 4 * (R + 1)), in the order left, top, right, bottom

    @classmethod
    def join(cls, levels: tuple[list[Tensor], list[Tensor]]) -> "HeadOutputs":
        """From what a ``GFLHead`` returns: maps of class logits and of distance logits, one of each for a level."""
        cls_logits, box_logits = levels
        return cls(join_levels(cls_logits), join_levels(box_logits))


class Regions(NamedTuple):
    """Where an image says something about its objects' places."""

    positive: Tensor  # (N, L) bool, the locations that ATSS trains to find an object
    valuable: Tensor  # (N, L) in [0, 1], the IoU with the object in the region around them, 0 elsewhere


@torch.no_grad()
def localization_regions(
    detector: GFL, features: Sequence[Tensor], gt_instances: Sequence[Any], ratio: float
) -> Regions:
    """Where the detector's own anchors and assigner put positives, and the valuable region around them; no padding.

    Args:
        detector: with the anchors and the assigner.
        features: of each level, (N, channels, H, W); only the sizes count.
        gt_instances: of each image ``gt_boxes`` in pixels, G of them.
        ratio: where the region begins, see :meth:`ATSSAssigner.valuable_region`.
    """
    sizes = sizes_of(features)
    positive, valuable = [], []
    for instances in gt_instances:
        own = detector.anchors(sizes, instances.image_size)
        boxes = instances.gt_boxes.tensor.to(own.centers)
        positive.append(own.spread(detector.assigner(own.boxes, boxes) >= 0, sizes, fill=False))
        valuable.append(own.spread(detector.assigner.valuable_region(own.boxes, boxes, ratio), sizes, fill=0.0))
    return Regions(torch.stack(positive), torch.stack(valuable))
