"""From the head's output to detections: threshold, top-k per level, boxes, NMS in each class or across them.

Shape legend:
    L: locations of all levels of one image; C: classes; R: reg_max; D: detections
"""

from collections.abc import Callable

import torch
from torch import Tensor

from detectron2.layers import batched_nms
from detectron2.structures import Boxes, Instances

from ..boxes import distances_to_boxes
from .anchors import AnchorPyramid


def top_candidates(
    scores: Tensor, level_sizes: list[int], score_thresh: float, topk: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The best (location, class) pairs of every level.

    Args:
        scores: (L, C), level after level.
        level_sizes: locations of each level.
        score_thresh: a pair counts above this score.
        topk: at most so many pairs of one level.

    Returns:
        Scores, locations in [0, L) and classes in [0, C) of the pairs, each (K,).
    """
    num_classes = scores.shape[1]
    kept_scores, kept_pairs, first = [], [], 0
    for level in scores.split(level_sizes):
        # Best first and then the threshold: the same pairs as the other way round, of which a sort needs fewer.
        best, pair = level.flatten().topk(min(topk, level.numel()))
        keep = best > score_thresh
        kept_scores.append(best[keep])
        kept_pairs.append(pair[keep] + first * num_classes)
        first += len(level)
    pairs = torch.cat(kept_pairs)
    return torch.cat(kept_scores), pairs // num_classes, pairs % num_classes


def decode_detections(
    cls_logits: Tensor,
    box_logits: Tensor,
    *,
    pyramid: AnchorPyramid,
    integral: Callable[[Tensor], Tensor],
    image_size: tuple[int, int],
    score_thresh: float,
    topk: int,
    nms_thresh: float,
    nms_across_classes: bool,
    max_detections: int,
) -> Instances:
    """Detections of one image.

    Args:
        cls_logits: (L, C).
        box_logits: (L, 4 * (R + 1)).
        pyramid: the L anchors.
        integral: distances in strides from distance logits.
        image_size: height and width in pixels, without padding; boxes are clipped to it.
        score_thresh: lowest score (exclusive).
        topk: candidates of each level.
        nms_thresh: of two boxes of one class with a larger IoU, the lower-scored is dropped.
        nms_across_classes: so it is of two boxes of different classes, for classes that exclude each other.
        max_detections: at most so many, the best.

    Returns:
        Instances with ``pred_boxes`` in pixels, ``scores`` in (0, 1), falling, and ``pred_classes``, D of each.

    Raises:
        FloatingPointError: if a prediction is NaN: no detection would look like a healthy patient.
    """
    scores, location, classes = top_candidates(cls_logits.sigmoid(), pyramid.level_sizes, score_thresh, topk)
    distances = integral(box_logits[location]) * pyramid.strides[location]
    if cls_logits.isnan().any() or distances.isnan().any():
        raise FloatingPointError("the detector predicts NaN: look for NaN in its checkpoint, or in the image itself")
    boxes = Boxes(distances_to_boxes(pyramid.centers[location], distances))
    boxes.clip(image_size)
    # Boxes that lie in the padding are empty after clipping.
    kept = boxes.nonempty().nonzero().squeeze(1)
    rivals = torch.zeros_like(classes) if nms_across_classes else classes
    kept = kept[batched_nms(boxes.tensor[kept], scores[kept], rivals[kept], nms_thresh)[:max_detections]]

    detections = Instances(image_size)
    detections.pred_boxes = boxes[kept]
    detections.scores = scores[kept]
    detections.pred_classes = classes[kept]
    return detections
